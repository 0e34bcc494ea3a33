"""Adafactor on torch."""

from typing import Any

import torch

from services.train_svc.engine.slots import factored_axes

EPS_SQUARE, EPS_SCALE, LARGEST_RMS, DECAY = 1e-30, 1e-3, 1.0, -0.8
"""The paper's epsilon 1 and 2, d, and the exponent of beta 2."""


class Adafactor(torch.optim.Optimizer):
    """Second moments as an outer product of two vectors (Shazeer and Stern 2018, arXiv 1804.04235, algorithms 4 and 5).

    A step is max(1e-3, rms(w)) min(lr, 1 / sqrt(t)) times the gradient over its root mean square, its rms 1 at most;
    the weights decay by lr times `weight_decay`, apart. No first moment. Tensors of more than two axes are split along
    their two longest.

    torch.optim.Adafactor is not used: it reads three numbers a parameter back from the device in each step, cannot
    leave a step out, takes mean squares under 1e-7 for 1e-7, and splits kernels along their shortest axes. On matrices
    with larger gradients it gives the same. Capturable; where the attribute `found_inf` holds a scalar above 0, nothing
    changes.

    Args:
        groups: torch's parameter groups, with `weight_decay`.
        lr: the rate, a scalar on the parameters' device.
    """

    found_inf: torch.Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], *, lr: torch.Tensor) -> None:
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 - takes none
        """Make one step; `state[p]` holds `step` and `row_var`, `col_var`, or of a vector `variance`."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group["lr"], group["weight_decay"])

    def _move(self, weight: torch.Tensor, rate: torch.Tensor, decay: float) -> None:
        assert weight.grad is not None
        state, gradient, old = self.state[weight], weight.grad.float(), weight.float()
        step = state["step"] + 1
        moments, root = _moments(state, gradient, step.pow(DECAY))
        update = gradient * root
        update = update / (_rms(update) / LARGEST_RMS).clamp(min=1)
        size = _rms(old).clamp(min=EPS_SCALE) * torch.minimum(rate, step.rsqrt())
        self._write(weight, old * (1 - rate * decay) - size * update)
        for slot, value in {"step": step, **moments}.items():
            self._write(state[slot], value)

    def _write(self, target: torch.Tensor, value: torch.Tensor) -> None:
        kept = value if self.found_inf is None else torch.where(self.found_inf > 0, target, value)
        target.copy_(kept)


def _moments(
    state: dict[str, Any], gradient: torch.Tensor, fresh: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    # The new moments, and 1 / sqrt of the second one. By factors: the product of two small means would be zero.
    square, axes = gradient.square() + EPS_SQUARE, factored_axes(tuple(gradient.shape))
    if axes is None:
        variance = torch.lerp(state["variance"], square, fresh)
        return {"variance": variance}, variance.rsqrt()
    row = torch.lerp(state["row_var"], square.mean(axes[1], keepdim=True), fresh)
    column = torch.lerp(state["col_var"], square.mean(axes[0], keepdim=True), fresh)
    share = row / row.mean(axes[0], keepdim=True)
    return {"row_var": row, "col_var": column}, share.rsqrt() * column.rsqrt()


def _rms(x: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = torch.linalg.vector_norm(x) / x.numel() ** 0.5
    return result

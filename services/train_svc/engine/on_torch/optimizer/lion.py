"""Lion on torch."""

from collections.abc import Iterator
from typing import Any

import torch

LARGEST = 1 << 25
"""Numbers that are moved at once (128 MiB of float32): what a step needs for a while is about twice that."""


class Lion(torch.optim.Optimizer):
    """Moves each weight by the sign of its gradient's momentum (Chen et al. 2023, arXiv 2302.06675, algorithm 2).

    w = w - lr (sign(b1 m + (1 - b1) g) + decay w), then m = b2 m + (1 - b2) g. Capturable; where the attribute
    `found_inf` holds a scalar above 0, nothing changes.

    Args:
        groups: torch's parameter groups, with `weight_decay`.
        lr: the rate, a scalar on the parameters' device.
        betas: b1 and b2.
    """

    found_inf: torch.Tensor | None = None

    def __init__(self, groups: list[dict[str, Any]], *, lr: torch.Tensor, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 - takes none
        """Make one step; `state[p]["exp_avg"]` is m."""
        for group in self.param_groups:
            for weights in _portions([p for p in group["params"] if p.grad is not None]):
                self._move(weights, group)

    def _move(self, weights: list[torch.Tensor], group: dict[str, Any]) -> None:
        (beta1, beta2), rate = group["betas"], group["lr"]
        moments = [self.state[weight]["exp_avg"] for weight in weights]
        gradients: list[Any] = [weight.grad for weight in weights]
        if self.found_inf is not None:
            # A gradient that equals the moment leaves it as it is, and at a rate of zero the weights stay.
            made = self.found_inf == 0
            gradients = [torch.where(made, g, m) for g, m in zip(gradients, moments, strict=True)]
            rate = rate * made
        updates = torch._foreach_lerp(moments, gradients, 1 - beta1)
        torch._foreach_lerp_(moments, gradients, 1 - beta2)
        torch._foreach_sign_(updates)
        torch._foreach_mul_(updates, rate)
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        torch._foreach_sub_(weights, updates)


def _portions(weights: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    portion, size = list[torch.Tensor](), 0
    for weight in weights:
        if portion and size + weight.numel() > LARGEST:
            yield portion
            portion, size = [], 0
        portion.append(weight)
        size += weight.numel()
    if portion:
        yield portion

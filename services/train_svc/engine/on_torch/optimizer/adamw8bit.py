"""AdamW with moments of 8 bits, in torchao's format. Imported only where torchao is there."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torchao.optim.quant_utils import (  # type: ignore[import-untyped]  # it has none
    create_dynamic_map,
    dequant_with_qmap,
    quantize_8bit_with_qmap,
    scale_tensor,
)

from services.train_svc.engine.slots import SCALES

BLOCK = 256
"""Numbers that share a scale."""
SMALLEST = 4096
"""Tensors of fewer numbers keep whole moments (Dettmers et al. 2022)."""
CODES = "_codes"
MOMENTS = {"exp_avg": True, "exp_avg_sq": False}
"""Slots that are made small, and whether they hold negative numbers."""
Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Codes uint8 [blocks, 256], scales [blocks], and the 256 values that codes stand for."""
Clock = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Steps made, 1.0 if this one is made and else 0.0, and the rate; scalars."""
Settings = tuple[float, float, float, float]
"""Both betas, epsilon, weight decay."""


class AdamW8bit(torch.optim.Optimizer):
    """AdamW whose moments take 2 bytes a weight, not 8 (Dettmers et al. 2022, arXiv 2110.02861; torchao's format).

    Same numbers as torchao.optim.AdamW8bit. That one counts steps on the host, compiles each parameter by itself and
    cannot leave a step out; here one compiled kernel moves all of them, rate and counter are on the device, and where
    the attribute `found_inf` holds a scalar above 0, nothing changes. On a CPU it runs uncompiled.

    Args:
        groups: torch's parameter groups, with `weight_decay`.
        lr: the rate, a scalar on the parameters' device.
        betas: weights of the past in the two moments.
        eps: added to the root.
    """

    found_inf: torch.Tensor | None = None

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: torch.Tensor, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        self._maps = {slot: torch.tensor(_map(signed), device=lr.device) for slot, signed in MOMENTS.items()}
        self._update = torch.compile(_update, dynamic=True) if lr.is_cuda else _update
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight] |= self._zeros(weight)

    def _zeros(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        state = {"step": torch.zeros((), device=weight.device)}
        for slot in MOMENTS:
            if is_small(weight):
                state[slot] = torch.zeros(weight.shape, device=weight.device)
                continue
            state[slot + CODES] = torch.zeros(weight.numel() // BLOCK, BLOCK, dtype=torch.uint8, device=weight.device)
            state[slot + SCALES] = torch.zeros(weight.numel() // BLOCK, device=weight.device)
        return state

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401 - takes none
        """Make one step; `moments` reads the state."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        assert weight.grad is not None
        state, small = self.state[weight], is_small(weight)
        made = torch.ones_like(state["step"]) if self.found_inf is None else 1 - self.found_inf
        state["step"].add_(made)
        shape = [-1] if small else [-1, BLOCK]
        # A view where the weight lies in order, which kernels of pictures need not.
        flat, gradient = weight.detach().reshape(shape), weight.grad.reshape(shape)
        clock = (state["step"], made, group["lr"])
        settings = (*group["betas"], group["eps"], group["weight_decay"])
        if small:
            _update_whole(flat, gradient, [state[slot].view(-1) for slot in MOMENTS], clock, settings)
        else:
            self._update(flat, gradient, [self._parts(state, slot) for slot in MOMENTS], clock, settings)
        if not weight.is_contiguous():
            weight.copy_(flat.view(weight.shape))

    def _parts(self, state: Mapping[str, torch.Tensor], slot: str) -> Parts:
        return state[slot + CODES], state[slot + SCALES], self._maps[slot]

    def moments(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the state of a weight as AdamW holds it, and the scales, from which the codes come back to the bit."""
        state = self.state[weight]
        result = {slot: value for slot, value in state.items() if not slot.endswith(CODES)}
        for slot in MOMENTS:
            if slot + CODES in state:
                codes, scale, values = self._parts(state, slot)
                result[slot] = dequant_with_qmap(codes, values, scale).view(weight.shape)
        return result

    def fill(self, weight: torch.Tensor, given: Mapping[str, torch.Tensor]) -> None:
        """Take over what `moments`, or AdamW, had; with scales the codes are the same again."""
        state = self.state[weight]
        for slot, value in given.items():
            if slot + CODES in state:
                codes, scale, values = self._parts(state, slot)
                blocks = value.to(codes.device).float().reshape(-1, BLOCK)
                scaled, found = scale_tensor(blocks, BLOCK)
                if slot + SCALES in given:
                    found = given[slot + SCALES].to(codes.device)
                    scaled = torch.where(found[:, None] > 0, blocks / found[:, None], 0.0)
                codes.copy_(quantize_8bit_with_qmap(scaled, values))
                scale.copy_(found)
            elif slot in state and not slot.endswith(SCALES):
                state[slot].copy_(value)


def is_small(weight: torch.Tensor) -> bool:
    """Say whether a weight keeps whole moments."""
    return weight.numel() < SMALLEST or weight.numel() % BLOCK != 0


@lru_cache(maxsize=2)
def _map(signed: bool) -> tuple[float, ...]:
    return tuple(create_dynamic_map(signed=signed))


def _adam(
    weight: torch.Tensor, gradient: torch.Tensor, moments: list[torch.Tensor], clock: Clock, settings: Settings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    (step, _, rate), (beta1, beta2, eps, decay), old = clock, settings, weight.float()
    first = moments[0].lerp(gradient.float(), 1 - beta1)
    second = moments[1].lerp(gradient.float().square(), 1 - beta2)
    root = second.sqrt() / (1 - beta2**step).sqrt() + eps
    moved = old - rate * decay * old
    return moved - rate * (first / (1 - beta1**step)) / root, first, second


def _update_whole(
    weight: torch.Tensor, gradient: torch.Tensor, moments: list[torch.Tensor], clock: Clock, settings: Settings
) -> None:
    found = _adam(weight, gradient, moments, clock, settings)
    for target, value in zip((weight, *moments), found, strict=True):
        target.copy_(torch.where(clock[1] > 0, value, target))


def _update(
    weight: torch.Tensor, gradient: torch.Tensor, moments: list[Parts], clock: Clock, settings: Settings
) -> None:
    whole = [dequant_with_qmap(codes, values, scale) for codes, scale, values in moments]
    moved, *after = _adam(weight, gradient, whole, clock, settings)
    made = clock[1] > 0
    weight.copy_(torch.where(made, moved, weight))
    for value, (codes, scale, values) in zip(after, moments, strict=True):
        scaled, found = scale_tensor(value, BLOCK)
        codes.copy_(torch.where(made, quantize_8bit_with_qmap(scaled, values), codes))
        scale.copy_(torch.where(made, found, scale))

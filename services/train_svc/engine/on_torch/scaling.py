"""The loss scale of fp16 on torch, on the device: nothing waits for it, and a CUDA graph may hold all of it."""

from collections.abc import Mapping, Sequence

import torch

from services.train_svc.engine.slots import check_memory
from services.train_svc.engine.spec import Precision

FACTOR = 2.0
"""By which the scale grows, and shrinks."""


class LossScale:
    """Keeps small gradients from vanishing in fp16 (Micikevicius et al. 2018, arXiv 1710.03740).

    The scale is halved by an overflow, and doubled after `growth_interval` steps without one. The kernels are those of
    torch.amp.GradScaler.

    Args:
        spec: first scale, and growth interval.
        device: where the scale is kept, that of the gradients.
    """

    def __init__(self, spec: Precision, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.value = torch.tensor(spec.loss_scale, dtype=torch.float32, device=device)
        self.good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss times the scale."""
        return loss * self.value

    @torch.no_grad()
    def unscale(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Divide the gradients by the scale in place; return 1.0 where one of them is not finite, else 0.0.

        Args:
            gradients: of any floating types, on the scale's device.
        """
        found = torch.zeros_like(self.value)
        # In double, since the reciprocal of a scale that is no power of two would be rounded twice.
        inverse = self.value.double().reciprocal().float()
        for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
            alike = [gradient for gradient in gradients if gradient.dtype is dtype]
            torch._amp_foreach_non_finite_check_and_unscale_(alike, found, inverse)
        return found

    @torch.no_grad()
    def update(self, found: torch.Tensor) -> None:
        """Halve the scale where `found` is above 0, double it after enough steps where it was not."""
        interval = self.spec.growth_interval
        torch._amp_update_scale_(self.value, self.good_steps, found, FACTOR, 1 / FACTOR, interval)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return its state: `value` float32 [], `good_steps` int32 []."""
        return {"value": self.value, "good_steps": self.good_steps}

    def fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `tensors` gave, on this engine or the other.

        Raises:
            InvalidError: it is of something else.
        """
        own = self.tensors()
        given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        check_memory({name: tuple(each.shape) for name, each in own.items()}, given, "precision")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])

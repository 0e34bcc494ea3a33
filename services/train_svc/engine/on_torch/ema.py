"""An exponential moving average of a torch model's weights."""

from collections.abc import Mapping

import torch
from torch import nn

from services.train_svc.engine.on_torch.tensors import fill, named_tensors


class Ema:
    """average = decay * average + (1 - decay) * weights, of parameters and floating-point buffers.

    Args:
        model: whose weights; the average begins as they are.
        decay: weight of the past, 0.999 to 0.9999 as a rule (Polyak and Juditsky 1992).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.clone() for name, tensor in named_tensors(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights as they are now, after an optimizer's step."""
        for name, tensor in named_tensors(model).items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - self.decay)
            else:
                self.tensors[name].copy_(tensor)

    def copy_to(self, model: nn.Module) -> None:
        """Give a model the average as its weights."""
        fill(model, self.tensors, "the moving average")

    def read(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from an average that either engine saved."""
        self.tensors = {name: tensors[name].to(tensor.device).clone() for name, tensor in self.tensors.items()}

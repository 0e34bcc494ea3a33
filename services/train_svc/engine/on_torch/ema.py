"""An exponential moving average of a torch model's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from services.train_svc.engine.averaging import newest_share
from services.train_svc.engine.on_torch.tensors import fill, named_tensors


class Ema:
    """average = decay * average + (1 - decay) * weights, of parameters and floating-point buffers.

    Args:
        model: whose weights; the average begins as they are.
        decay: weight of the past, 0.999 to 0.9999 as a rule (Polyak and Juditsky 1992).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.share = torch.tensor(1 - decay, device=next(model.parameters()).device)
        self.tensors = {name: tensor.clone() for name, tensor in named_tensors(model).items()}

    def begin(self, step: int) -> None:
        """Use the share of the newest weights that belongs to a step, from now on; a captured step sees it too."""
        self.share.fill_(newest_share(self.decay, step))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights as they are now, after an optimizer's step."""
        now = named_tensors(model)
        floating = [name for name, tensor in now.items() if tensor.is_floating_point()]
        if floating:
            averages, weights = [self.tensors[name] for name in floating], [now[name] for name in floating]
            moves = torch._foreach_sub(weights, averages)
            torch._foreach_mul_(moves, self.share)
            torch._foreach_add_(averages, moves)
        for name in now.keys() - set(floating):
            self.tensors[name].copy_(now[name])

    def copy_to(self, model: nn.Module) -> None:
        """Give a model the average as its weights."""
        fill(model, self.tensors, "the moving average")

    @contextmanager
    def lent_to(self, model: nn.Module) -> Iterator[None]:
        """Let the model hold the average for a while; its own weights come back after."""
        own = {name: tensor.clone() for name, tensor in named_tensors(model).items()}
        self.copy_to(model)
        try:
            yield
        finally:
            fill(model, own, "the model's own weights")

    def read(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from an average that either engine saved."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

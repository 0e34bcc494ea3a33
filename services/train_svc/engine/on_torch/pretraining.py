"""The blocks of `architecture.blocks.pretraining` on torch."""

import torch
from torch import nn

from services.train_svc.engine.architecture.blocks.pretraining import MaskedFrames, ProductQuantizer
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds


@builds(MaskedFrames)
class HiddenFrames(TorchBlock):
    """One vector in the place of what is hidden."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the same shape."""
        hidden = context.values.get(self.block.input)
        return x if hidden is None else torch.where(hidden[:, :, None].bool(), self.weight.to(x.dtype), x)


@builds(ProductQuantizer)
class Quantized(TorchBlock):
    """[batch, time, features] to entries of codebooks, side by side."""

    weight: torch.Tensor
    scores: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return [batch, time, groups * dim]."""
        block = self.block
        scores: torch.Tensor = self.scores(x)
        scores = scores.reshape(*x.shape[:2], block.groups, block.entries)
        if block.probabilities:
            context.keep(block.probabilities, scores.softmax(-1).flatten(2))
        books = self.weight.view(block.groups, block.entries, -1)
        return torch.einsum("btge,ged->btgd", self._choice(scores), books).flatten(2)

    def _choice(self, scores: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return _one_hot(scores)
        if self.block.noise:
            scores = scores - torch.empty_like(scores).exponential_().log() * self.block.noise
        soft: torch.Tensor = (scores / self.block.temperature).softmax(-1)
        return _one_hot(soft) + soft - soft.detach()


def _one_hot(scores: torch.Tensor) -> torch.Tensor:
    entries = torch.arange(scores.shape[-1], device=scores.device)
    return (scores.argmax(-1, keepdim=True) == entries).to(scores.dtype)

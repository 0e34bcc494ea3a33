"""The blocks of `architecture.blocks.transducer` on torch."""

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.transducer import Joiner, StartToken
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


@builds(StartToken)
class Started(TorchBlock):
    """The token, then the others."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return [batch, 1 + time]; in a loop `x`."""
        if context.state is not None:
            return x
        if context.lengths is not None:
            context.lengths = context.lengths + 1
        if context.mask is not None:
            context.mask = functional.pad(context.mask, (1, 0), value=1)
        return functional.pad(x, (1, 0), value=self.block.token)


@builds(Joiner)
class Pairs(TorchBlock):
    """Every frame with every label."""

    linear: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return [batch, frames, labels, vocab_size]."""
        pairs = x[:, :, None] + context.values[self.block.labels][:, None]
        result: torch.Tensor = self.linear(ACTIVATIONS[self.block.activation](pairs))
        return result

"""The blocks of `architecture.blocks.channels` on torch."""

import torch

from services.train_svc.engine.architecture.blocks.channels import AddChannel, EachChannel, Patches, Standardized
from services.train_svc.engine.architecture.node import SEQUENCE_AXES
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds
from services.train_svc.engine.on_torch.combine import Row


@builds(AddChannel)
class OneChannel(TorchBlock):
    """[batch, time] to [batch, time, 1]."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the same values."""
        return x[:, :, None]


@builds(EachChannel)
class Folded(Row):
    """[batch, time, variables] with the variables in the batch."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return what the body makes of each variable."""
        batch, time, variables = x.shape
        context.lengths, context.mask = (
            None if each is None else each.repeat_interleave(variables, 0) for each in (context.lengths, context.mask)
        )
        y = super().forward(x.transpose(1, 2).reshape(batch * variables, time, 1), context)
        context.lengths = context.mask = None
        y = y.reshape(batch, variables, *y.shape[1:])
        return y.transpose(1, 2) if y.ndim == SEQUENCE_AXES + 1 else y


@builds(Standardized)
class Rescaled(Row):
    """[batch, time, variables] by mean and scale of each."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the body's output, in the input's scale where that is wanted."""
        mean = x.mean(1, keepdim=True)
        scale = (x.var(1, keepdim=True, correction=0) + self.block.eps).sqrt()
        y = super().forward((x - mean) / scale, context)
        return y * scale + mean if self.block.restore else y


@builds(Patches)
class Windows(TorchBlock):
    """[batch, time, features] to [batch, patches, features * length]."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the windows, one feature after the other in each."""
        block = self.block
        if block.pad:
            x = torch.cat((x, x[:, -1:].expand(-1, block.pad, -1)), 1)
        start = (x.shape[1] - block.length) % block.stride
        return x[:, start:].unfold(1, block.length, block.stride).flatten(2)

"""The blocks of `architecture.blocks.reshape` on torch."""

import torch
from torch import nn

from services.train_svc.engine.architecture.blocks.reshape import (
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    MeanPool,
    Select,
    ToSequence,
)
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import MAKERS, Builder, TorchBlock, builds, key_mask

MAKERS[Flatten] = lambda _node, _builder: nn.Flatten()


@builds(MaxPool2d)
def max_pool2d(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer."""
    block = node.block
    assert isinstance(block, MaxPool2d)
    return nn.MaxPool2d(block.kernel_size, block.stride, block.padding)


@builds(GlobalAvgPool)
class PictureMean(TorchBlock):
    """[N, C, H, W] to [N, C]."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the mean of each channel."""
        return x.mean((2, 3), keepdim=self.block.keep_axes)


@builds(MeanPool)
class TimeMean(TorchBlock):
    """[N, T, F] to [N, F]."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the mean over the frames that are real."""
        mask = key_mask(context, x.shape[1], x.device)
        context.lengths = context.mask = None
        if mask is None:
            return x.mean(1)
        weights = mask.to(x.dtype)[:, :, None]
        return (x * weights).sum(1) / weights.sum(1)


@builds(ToSequence)
class Rows(TorchBlock):
    """[N, C, H, W] to [N, H W, C]."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the pixels, row by row."""
        return x.flatten(2).transpose(1, 2)


@builds(Select)
class Frame(TorchBlock):
    """[N, T, F] to [N, F]."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return one frame."""
        return x[:, self.block.index]

"""The blocks of `architecture.blocks.weight_norm` on torch."""

import torch
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.weight_norm import PositionalConv1d
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds
from services.train_svc.engine.on_torch.convolution import masked


@builds(PositionalConv1d)
class PositionalConvolution(TorchBlock):
    """[batch, time, features] to the same."""

    weight_g: torch.Tensor
    weight_v: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the convolution."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        padded = functional.pad(masked(x, context).transpose(1, 2), self.block.pads)
        return functional.conv1d(padded, weight, self.bias, groups=self.block.groups).transpose(1, 2)

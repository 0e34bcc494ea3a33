"""The blocks of `architecture.blocks.lightconv` on torch."""

from functools import reduce

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.lightconv import DynamicConv, LightweightConv
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds
from services.train_svc.engine.on_torch.convolution import widened


@builds(LightweightConv)
class FixedKernels(TorchBlock):
    """[batch, time, features] to the same."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the convolution."""
        features, (left, right) = x.shape[-1], self.block.pads
        kernels = _normalised(self, self.weight).repeat_interleave(features // self.block.heads, 0)
        x = widened(self, x, context).transpose(1, 2)
        padding = left if left == right else 0
        return functional.conv1d(x, kernels[:, None], padding=padding, groups=features).transpose(1, 2)


@builds(DynamicConv)
class PredictedKernels(TorchBlock):
    """[batch, time, features] to the same."""

    kernels: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the convolution."""
        (left, right), time, size = self.block.pads, x.shape[1], self.block.kernel_size
        kernels = _normalised(self, _split(self.kernels(x), self.block.heads))
        x = widened(self, x, context)
        x = _split(functional.pad(x, (0, 0, left, right)) if left == right else x, self.block.heads)
        # One product a tap: all windows side by side would take kernel_size times the memory.
        taps = (x[:, tap : tap + time] * kernels[..., tap : tap + 1] for tap in range(size))
        return reduce(torch.add, taps).flatten(2)


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.reshape(*x.shape[:2], heads, -1)


def _normalised(module: TorchBlock, weights: torch.Tensor) -> torch.Tensor:
    return functional.dropout(weights.softmax(-1), module.block.weight_dropout, module.training)

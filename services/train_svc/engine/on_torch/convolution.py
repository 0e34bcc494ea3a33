"""The blocks of `architecture.blocks.convolution` on torch."""

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.convolution import Conv1d, Conv2d, FrameConv2d, Pad2d
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import Builder, TorchBlock, builds, key_mask


@builds(Conv2d)
def conv2d(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer."""
    block, channels = node.block, node.input_shape[0]
    assert isinstance(block, Conv2d)
    assert channels is not None
    sizes = (block.kernel_size, block.stride, block.pad)
    return nn.Conv2d(channels, block.out_channels, *sizes, groups=block.groups, bias=block.bias)


@builds(Conv1d)
class TimeConvolution(TorchBlock):
    """[batch, time, features] to [batch, time', out_features]."""

    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the convolution; the lengths follow its stride."""
        block, (left, right) = self.block, self.block.pads
        x, padding = widened(self, x, context), left if left == right else 0
        bias = self.bias if block.bias else None
        moved = functional.conv1d(x.transpose(1, 2), self.weight, bias, block.stride, padding, groups=block.groups)
        return moved.transpose(1, 2)


@builds(FrameConv2d)
class SpectrumConvolution(TorchBlock):
    """[batch, time, channels * bands] to [batch, time', out_channels * bands']."""

    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the convolution; the lengths follow its stride."""
        block, (left, right) = self.block, self.block.pads
        x, padding = widened(self, x, context), (left if left == right else 0, block.pad)
        pictures = x.view(*x.shape[:2], -1, block.bands).transpose(1, 2)
        bias = self.bias if block.bias else None
        return functional.conv2d(pictures, self.weight, bias, block.stride, padding).transpose(1, 2).flatten(2)


def widened(module: TorchBlock, x: torch.Tensor, context: Context) -> torch.Tensor:
    """Return frames with those before them, carried or zeros, for a block with `pads`; the lengths follow its stride.

    Zeros of one number on both sides are left to the convolution.
    """
    block, (left, right) = module.block, module.block.pads
    x = masked(x, context) if block.mask_padding else x
    context.resize(block.kernel_size, block.stride, (left, right))
    if context.state is not None and block.causal and left:
        x = torch.cat((module.carried(context, "left"), x), 1)
        module.carry(context, "left", x[:, x.shape[1] - left :])
        return x
    return x if left == right else functional.pad(x, (0, 0, left, right))


@builds(Pad2d)
def pad2d(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer."""
    block = node.block
    assert isinstance(block, Pad2d)
    return nn.ZeroPad2d((block.left, block.right, block.top, block.bottom))


def masked(x: torch.Tensor, context: Context) -> torch.Tensor:
    """Return [batch, time, features] with zeros where there is padding."""
    mask = key_mask(context, x.shape[1], x.device)
    return x if mask is None else x * mask[:, :, None].to(x.dtype)

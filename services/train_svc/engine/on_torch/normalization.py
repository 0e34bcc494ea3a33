"""The blocks of `architecture.blocks.normalization` on torch."""

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.normalization import (
    BatchNorm,
    Dropout,
    DropPath,
    GroupNorm,
    LayerNorm,
    LayerScale,
    RmsNorm,
)
from services.train_svc.engine.architecture.node import PICTURE_AXES, SEQUENCE_AXES, Node
from services.train_svc.engine.on_torch.block import Builder, builds


class FrameBatchNorm(nn.BatchNorm1d):
    """[batch, time, features] normalised over batch and time."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return super().forward(input.flatten(0, 1)).view_as(input)


class PixelLayerNorm(nn.LayerNorm):
    """[batch, channels, height, width] normalised over the channels of each pixel."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the same shape; channels-last memory is neither needed nor given up."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FrameGroupNorm(nn.GroupNorm):
    """[batch, time, features] normalised over time and groups of features."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class StochasticDepth(nn.Module):
    """Zeroes whole samples while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x`, or while training some samples of it, scaled up."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class ConstantDropout(nn.Dropout):
    """Drops in use too."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        if torch.onnx.is_in_onnx_export():
            # ONNX Runtime takes every Dropout for an identity.
            return input * (torch.rand_like(input) >= self.p).to(input.dtype) / (1 - self.p)
        return functional.dropout(input, self.p, True)


class ChannelScale(nn.Module):
    """x * weight, a number each channel."""

    def __init__(self, size: int, axes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return x * (self.weight[:, None, None] if self.axes == PICTURE_AXES else self.weight)


@builds(BatchNorm)
def batch_norm(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer, for sequences flattened over time."""
    kinds = {PICTURE_AXES: nn.BatchNorm2d, SEQUENCE_AXES: FrameBatchNorm}
    kind = kinds.get(len(node.input_shape), nn.BatchNorm1d)
    assert isinstance(node.block, BatchNorm)
    return kind(node.parameters["weight"].shape[0], eps=node.block.eps, momentum=node.block.momentum)


@builds(LayerNorm)
def layer_norm(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer."""
    assert isinstance(node.block, LayerNorm)
    kind = PixelLayerNorm if len(node.input_shape) == PICTURE_AXES else nn.LayerNorm
    return kind(node.parameters["weight"].shape[0], eps=node.block.eps, bias=node.block.bias)


@builds(GroupNorm)
def group_norm(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer."""
    assert isinstance(node.block, GroupNorm)
    wide = node.parameters["weight"].shape[0]
    kind = FrameGroupNorm if len(node.input_shape) == SEQUENCE_AXES else nn.GroupNorm
    return kind(node.block.groups or wide, wide, node.block.eps)


@builds(RmsNorm)
def rms_norm(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer."""
    assert isinstance(node.block, RmsNorm)
    return nn.RMSNorm(node.parameters["weight"].shape[0], eps=node.block.eps)


@builds(LayerScale)
def layer_scale(node: Node, _builder: Builder) -> nn.Module:
    """Return the scale."""
    return ChannelScale(node.parameters["weight"].shape[0], len(node.input_shape))


@builds(Dropout)
def dropout(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer."""
    assert isinstance(node.block, Dropout)
    kind = ConstantDropout if node.block.always and node.block.rate else nn.Dropout
    return kind(node.block.rate)


@builds(DropPath)
def drop_path(node: Node, _builder: Builder) -> nn.Module:
    """Return stochastic depth."""
    assert isinstance(node.block, DropPath)
    return StochasticDepth(node.block.rate)

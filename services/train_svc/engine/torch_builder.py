"""Descriptions into torch modules. Each block is a few lines; parameters are named after the blocks.

A block gets the shape it will see, so nothing is lazy and a model can be built on the meta device.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.architecture import (
    BatchNorm,
    Block,
    Conv2d,
    Description,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    Relu,
    Residual,
    Sequential,
    Shape,
)
from services.train_svc.engine.architecture.block import named


class ResidualModule(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both branches."""
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]  # nn.Module's call is untyped


class GlobalAvgPoolModule(nn.Module):
    """[N, C, H, W] to [N, C]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of each channel."""
        return x.mean((2, 3))


def _conv2d(block: Conv2d, shape: Shape) -> nn.Module:
    padding = block.kernel_size // 2
    return nn.Conv2d(shape[0], block.out_channels, block.kernel_size, block.stride, padding, bias=block.bias)


def _batch_norm(block: BatchNorm, shape: Shape) -> nn.Module:
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    return kind(shape[0], eps=block.eps, momentum=block.momentum)


def _residual(block: Residual, shape: Shape) -> nn.Module:
    shortcut = _sequential(block.shortcut, shape) if block.shortcut else nn.Identity()
    return ResidualModule(_sequential(block.body, shape), shortcut)


def _sequential(blocks: tuple[Block, ...], shape: Shape) -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, block in named(blocks, ""):
        modules[name] = BUILDERS[type(block)](block, shape)
        shape = block.output_shape(shape, name)
    return nn.Sequential(modules)


BUILDERS: dict[type[Block], Callable[[Any, Shape], nn.Module]] = {
    Conv2d: _conv2d,
    BatchNorm: _batch_norm,
    Relu: lambda _block, _shape: nn.ReLU(),
    Dropout: lambda block, _shape: nn.Dropout(block.rate),
    MaxPool2d: lambda block, _shape: nn.MaxPool2d(block.kernel_size, block.stride),
    GlobalAvgPool: lambda _block, _shape: GlobalAvgPoolModule(),
    Flatten: lambda _block, _shape: nn.Flatten(),
    Linear: lambda block, shape: nn.Linear(shape[-1], block.out_features, bias=block.bias),
    Sequential: lambda block, shape: _sequential(block.body, shape),
    Residual: _residual,
}


def build_torch(description: Description, device: str = "cpu") -> nn.Module:
    """Return the module: [N, *input_shape] float32 to [N, *output_shape].

    Args:
        description: what to build.
        device: where its parameters live; on "meta" they take no memory.
    """
    with torch.device(device):
        return _sequential(description.body, description.input_shape)

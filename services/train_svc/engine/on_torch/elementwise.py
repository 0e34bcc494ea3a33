"""The blocks of `architecture.blocks.elementwise` on torch."""

import torch
from torch import nn

from services.train_svc.engine.architecture.blocks.elementwise import (
    Gelu,
    GeluTanh,
    Glu,
    HardSigmoid,
    HardSwish,
    LogSoftmax,
    Relu,
    Relu6,
    Scale,
    Sigmoid,
    Silu,
    Tanh,
)
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.on_torch.block import MAKERS, Builder, builds

MAKERS.update(
    {
        Relu: lambda _node, _builder: nn.ReLU(),
        Relu6: lambda _node, _builder: nn.ReLU6(),
        Gelu: lambda _node, _builder: nn.GELU(),
        GeluTanh: lambda _node, _builder: nn.GELU("tanh"),
        Silu: lambda _node, _builder: nn.SiLU(),
        Sigmoid: lambda _node, _builder: nn.Sigmoid(),
        Tanh: lambda _node, _builder: nn.Tanh(),
        HardSwish: lambda _node, _builder: nn.Hardswish(),
        HardSigmoid: lambda _node, _builder: nn.Hardsigmoid(),
        LogSoftmax: lambda _node, _builder: nn.LogSoftmax(-1),
        Glu: lambda _node, _builder: nn.GLU(-1),
    }
)


class Multiplied(nn.Module):
    """x * by."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return x * self.by


@builds(Scale)
def scale(node: Node, _builder: Builder) -> nn.Module:
    """Return the multiplication."""
    assert isinstance(node.block, Scale)
    return Multiplied(node.block.by)

"""The blocks of `architecture.blocks.combine` on torch."""

import torch
from torch import nn

from services.train_svc.engine.architecture.blocks.combine import (
    Concat,
    Load,
    Part,
    Product,
    Repeat,
    Residual,
    Save,
    Sequential,
)
from services.train_svc.engine.architecture.node import PICTURE_AXES
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds, run


@builds(Sequential, Repeat)
class Row(TorchBlock):
    """One after the other."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the last one's output."""
        for module in self.children():
            x = run(module, x, context)
        return x


@builds(Residual)
class Sum(TorchBlock):
    """scale * body(x) + shortcut(x)."""

    body: nn.Module
    shortcut: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the sum of both branches."""
        body = run(self.body, x, context)
        kept = run(self.shortcut, x, context) if self.block.shortcut else x
        return kept + body if self.block.scale == 1 else torch.add(kept, body, alpha=self.block.scale)


@builds(Product)
class Gated(TorchBlock):
    """body(x) * gate(x)."""

    body: nn.Module
    gate: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the product of both branches."""
        return run(self.body, x, context) * run(self.gate, x, context)


@builds(Concat)
class Joined(TorchBlock):
    """The branches side by side."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return them along the channels of pictures, else along the features."""
        outputs = [run(module, x, context) for module in self.children()]
        return torch.cat(outputs, 1 if outputs[0].ndim == PICTURE_AXES + 1 else -1)


@builds(Part)
class Division(TorchBlock):
    """A part with its own input and padding."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the part's output, kept under its name."""
        x = context.enter(self.block, x)
        for module in self.children():
            x = run(module, x, context)
        context.leave(self.block, x)
        return x


@builds(Save)
class Keep(TorchBlock):
    """Keeps what flows through it."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return `x`."""
        context.keep(self.block.value, x)
        return x


@builds(Load)
class Switch(TorchBlock):
    """Goes on with another value."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the named value."""
        value: torch.Tensor = context.go_on_with(self.block.value)
        return value

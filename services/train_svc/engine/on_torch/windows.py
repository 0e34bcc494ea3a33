"""The blocks of `architecture.blocks.windows` on torch."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.windows import APART, SpatialAttention, WindowAttention
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds
from services.train_svc.engine.on_torch.pixels import filled


class PixelAttention(TorchBlock):
    """What both kinds share."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module

    def mixed(
        self, x: torch.Tensor, memory: torch.Tensor, heads: int, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the heads' outputs [batch, pixels, ...], still without the output layer."""
        query, key, value = (
            torch.unflatten(layer(source).flatten(2), 2, (heads, -1)).transpose(1, 2)
            for layer, source in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        dropout = self.block.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, bias, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)


@builds(WindowAttention)
class Windows(PixelAttention):
    """[N, C, H, W] to the same, in channels-last memory."""

    table: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the attention's output."""
        height, width = x.shape[2:]
        side, shift = self.block.fitted(height, width)
        x = filled(x.permute(0, 2, 3, 1), side)
        grid = (x.shape[1] // side, x.shape[2] // side)
        x = cut(torch.roll(x, (-shift, -shift), (1, 2)) if shift else x, side)
        # Windows stand beside the heads, not in the batch: their biases are then the same for every sample.
        heads = self.block.heads * x.shape[2]
        x = joined(self.mixed(x, x, heads, self._bias(grid, side, shift, context)), grid, side)
        x = torch.roll(x, (shift, shift), (1, 2)) if shift else x
        result: torch.Tensor = self.output(x[:, :height, :width])
        return result.permute(0, 3, 1, 2)

    def _bias(self, grid: tuple[int, int], side: int, shift: int, context: Context) -> torch.Tensor:
        # [1, windows * heads, pixels, pixels]
        device = self.table.device
        distances = _kept(context, ("distances", side), lambda: _distances(side, device))
        bias = functional.embedding(distances, self.table).permute(2, 0, 1)
        if not shift:
            return bias.repeat(grid[0] * grid[1], 1, 1)[None]
        apart = _kept(context, ("apart", grid, side, shift), lambda: _apart(grid, side, shift, device))
        return (bias + apart.to(bias.dtype)).flatten(0, 1)[None]


def _kept(context: Context, name: tuple[object, ...], make: Callable[[], torch.Tensor]) -> torch.Tensor:
    # One table a run serves all layers of a kind.
    if name not in context.memo:
        context.memo[name] = make()
    table: torch.Tensor = context.memo[name]
    return table


def cut(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return [batch, height, width, features] as [batch, pixels of a window, windows, features]."""
    x = torch.unflatten(torch.unflatten(x, 2, (-1, side)), 1, (-1, side))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3, 4).flatten(1, 2)


def joined(x: torch.Tensor, grid: tuple[int, int], side: int) -> torch.Tensor:
    """Return [batch, pixels of a window, windows * features] as [batch, height, width, features]."""
    x = torch.unflatten(torch.unflatten(x, 2, (*grid, -1)), 1, (side, side))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(3, 4).flatten(1, 2)


def _distances(side: int, device: torch.device) -> torch.Tensor:
    # [pixels, pixels]: which row of the table is that of a query's place less a key's.
    steps = torch.arange(side, device=device)
    codes = (steps[:, None] * (2 * side - 1) + steps).flatten()
    return codes[:, None] - codes + 2 * side * (side - 1)


def _apart(grid: tuple[int, int], side: int, shift: int, device: torch.device) -> torch.Tensor:
    # [windows, 1, pixels, pixels]: less than 0 between pixels that do not lie side by side in the picture.
    rows, columns = (torch.arange(count * side, device=device) >= count * side - shift for count in grid)
    codes = cut((rows[:, None] * 2 + columns * 1)[None, :, :, None], side)[0, :, :, 0].T
    return (codes[:, :, None] != codes[:, None, :])[:, None] * APART


@builds(SpatialAttention)
class Reduced(PixelAttention):
    """[N, C, H, W] to the same, in channels-last memory."""

    reduce: nn.Module
    reduce_norm: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the attention's output."""
        seen = self.reduce_norm(self.reduce(x)) if self.block.reduction > 1 else x
        rows, keys = x.flatten(2).transpose(1, 2), seen.flatten(2).transpose(1, 2)
        result: torch.Tensor = self.output(self.mixed(rows, keys, self.block.heads))
        return torch.unflatten(result.transpose(1, 2), 2, x.shape[2:])

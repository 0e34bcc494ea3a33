"""The blocks of `architecture.blocks.relative` on torch."""

import math

import torch
from torch import nn

from services.train_svc.engine.architecture.blocks.relative import RelativeAttention
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.attention import attend, once
from services.train_svc.engine.on_torch.block import TorchBlock, builds, key_mask
from services.train_svc.engine.on_torch.streaming import remember, seen_in_chunks


@builds(RelativeAttention)
class DistanceAttention(TorchBlock):
    """[batch, time, features] to the same, the term of the distance as a bias of torch's fused kernels."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    position: nn.Module
    output: nn.Module
    content_bias: torch.Tensor
    position_bias: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the attention's output."""
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        if context.chunk is not None:
            key, value = remember(self, key, value, context)
        what = (key.shape[2], x.shape[1], x.shape[2], x.dtype, x.device)
        far = self._heads(self.position(once(context, what, lambda: distances(*what)))[None])
        bias = shift((query + self.position_bias[:, None]) @ far.transpose(2, 3), key.shape[2])
        bias = bias * query.shape[-1] ** -0.5
        seen = self._seen(query, key, context)
        mixed = attend(
            query + self.content_bias[:, None],
            key,
            value,
            bias if seen is None else bias.masked_fill(~seen, torch.finfo(bias.dtype).min),
            dropout=self.block.dropout if self.training else 0.0,
        )
        result: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        # No -1: torch.export would ask whether the symbol of the time divides, and allow multiples of something only.
        return x.view(*x.shape[:-1], self.block.heads, x.shape[-1] // self.block.heads).transpose(1, 2)

    def _seen(self, query: torch.Tensor, key: torch.Tensor, context: Context) -> torch.Tensor | None:
        if context.chunk is not None:
            return seen_in_chunks(self, query.shape[2], key, context)
        mask = key_mask(context, key.shape[2], key.device)
        return None if mask is None else mask[:, None, None, :]


def distances(keys: int, queries: int, wide: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return [keys + queries - 1, wide]: waves of the distances from the last query and first key downwards."""
    places = torch.arange(keys - 1, -queries, -1, device=device, dtype=torch.float32)
    rates = torch.exp(torch.arange(0, wide, 2, device=device, dtype=torch.float32) * (-math.log(10000.0) / wide))
    angles = places[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1).to(dtype)


def shift(scores: torch.Tensor, keys: int) -> torch.Tensor:
    """Return [..., queries, keys] of scores [..., queries, distances]: query i and key j at distance i - j.

    Looked up by index: the usual detour by a reshape (appendix B) is slower, and export takes its sizes for multiples.
    """
    batch, heads, queries, _ = scores.shape
    own = torch.arange(queries, device=scores.device)[:, None]
    places = torch.arange(keys, device=scores.device) - own + (queries - 1)
    return scores.gather(3, places.expand(batch, heads, queries, keys))

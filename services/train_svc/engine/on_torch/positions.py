"""The blocks of `architecture.blocks.positions` on torch."""

import math

import torch
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.positions import (
    ClassToken,
    FixedPositions,
    LearnedPositions,
    RelativeBias,
    Rope,
    SinusoidalPositions,
)
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds


def positions(block: TorchBlock, x: torch.Tensor, context: Context) -> torch.Tensor:
    """Return [time] positions of the frames of `x`, which go on from step to step."""
    places = torch.arange(x.shape[1], device=x.device)
    if context.state is None:
        return places
    before = block.carried(context, "position")
    block.carry(context, "position", before + x.shape[1])
    return places + before


@builds(LearnedPositions, FixedPositions)
class AddedPositions(TorchBlock):
    """x + table[position]."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the sum."""
        offset = self.block.offset
        if context.state is None:
            return x + self.weight[offset : offset + x.shape[1]]
        return x + functional.embedding(positions(self, x, context) + offset, self.weight)


@builds(SinusoidalPositions)
class AddedWaves(TorchBlock):
    """scale * x + waves."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the sum."""
        half, block = x.shape[-1] // 2, self.block
        steps = torch.arange(half, device=x.device, dtype=torch.float32)
        rates = torch.exp(steps * (-math.log(block.base) / (half if block.exclusive else half - 1)))
        angles = positions(self, x, context)[:, None].float() * rates
        pair = (angles.sin(), angles.cos())
        waves = torch.stack(pair, -1).flatten(1) if block.interleaved else torch.cat(pair, -1)
        return (x if block.scale == 1 else x * block.scale) + waves.to(x.dtype)


@builds(ClassToken)
class Prepended(TorchBlock):
    """Learned frames before the others."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return [batch, count + time, features]."""
        if context.lengths is not None:
            context.lengths = context.lengths + self.block.count
        if context.mask is not None:
            context.mask = functional.pad(context.mask, (self.block.count, 0), value=1)
        return torch.cat((self.weight.expand(x.shape[0], -1, -1).to(x.dtype), x), 1)


@builds(RelativeBias)
class DistanceBias(TorchBlock):
    """Keeps [1, heads, queries, keys]."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return `x`."""
        keys = queries = torch.arange(x.shape[1], device=x.device)
        if context.state is not None:
            past = self.carried(context, "past")
            queries = queries + past.shape[0]
            keys = torch.cat((past, queries))
            self.carry(context, "past", keys)
        buckets = self._bucket(keys[None, :] - queries[:, None])
        context.values[self.block.value] = functional.embedding(buckets, self.weight).permute(2, 0, 1)[None]
        return x

    def _bucket(self, distance: torch.Tensor) -> torch.Tensor:
        block, result = self.block, torch.zeros_like(distance)
        half = block.buckets // 2 if block.bidirectional else block.buckets
        if block.bidirectional:
            result = (distance > 0).long() * half
        away = distance.abs() if block.bidirectional else (-distance).clamp(min=0)
        exact = half // 2
        far = torch.log(away.clamp(min=1).float() / exact) / math.log(block.max_distance / exact) * (half - exact)
        return result + torch.where(away < exact, away, (exact + far.long()).clamp(max=half - 1))


def rotation(rope: Rope, dim: int, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines [time, dim] of the angles at `places`."""
    steps = torch.arange(0, dim, 2, device=places.device, dtype=torch.float32)
    rates = _slowed(rope, rope.theta ** (-steps / dim))
    angles = places[:, None].float() * rates
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def _slowed(rope: Rope, rates: torch.Tensor) -> torch.Tensor:
    if rope.factor == 1:
        return rates
    turns = rope.original_length * rates / (2 * math.pi)
    low, high = rope.low_freq_factor, rope.high_freq_factor
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return rates * (share + (1 - share) / rope.factor)


def rotate(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Return [..., time, dim] with its halves turned against each other."""
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat((-second, first), -1) * sines

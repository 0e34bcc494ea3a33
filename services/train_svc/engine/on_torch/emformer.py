"""The blocks of `architecture.blocks.emformer` on torch."""

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.emformer import MEANS, SegmentAttention, Segments, StackFrames
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds, key_mask, run


@builds(StackFrames)
class Stacked(TorchBlock):
    """[batch, time, features] to [batch, time / count, count * features]."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the wide frames; the lengths shrink with them."""
        count = self.block.count
        context.resize(count, count, (0, 0))
        return parted(x[:, : x.shape[1] // count * count], count).flatten(2)


@builds(Segments)
class Cut(TorchBlock):
    """[batch, time, features], cut into segments for the body and put together again."""

    body: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return [batch, time, features]; in a stream without the right context."""
        block, time, (lengths, mask) = self.block, x.shape[1], (context.lengths, context.mask)
        # Rounded up without a negative number, whose quotient ONNX would round the other way.
        whole = context.state is None
        count = (time + block.length - 1 if whole else time - block.right_context) // block.length
        missing = count * block.length + block.right_context - time
        if context.state is not None and missing:
            wanted = f"{block.length} n + {block.right_context}"
            raise ValueError(
                f"{self.path} got a step of {time} frames, wanted {wanted}; pad the last and say its length"
            )
        real = key_mask(context, time, x.device)
        if real is None and context.state is None:
            real = x.new_ones((x.shape[0], time), dtype=torch.bool)
        slots = windows(count, block.length, block.slots, x.device)
        x = functional.pad(x, (0, 0, 0, missing))[:, slots]
        context.memo[MEANS] = x[:, :, : block.length].mean(2)
        context.lengths, context.mask = None, None if real is None else functional.pad(real, (0, missing))[:, slots]
        context.mask = None if context.mask is None else context.mask.flatten(1)
        x = run(self.body, x.flatten(1, 2), context)
        kept = time if context.state is None else count * block.length
        context.lengths = None if lengths is None else lengths.clamp(max=kept)
        context.mask = None if mask is None else mask[:, :kept]
        return parted(x, block.slots)[:, :, : block.length].flatten(1, 2)[:, :kept]


@builds(SegmentAttention)
class SegmentedAttention(TorchBlock):
    """[batch, segments * slots, features] to the same."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the attention's output, and leave the next layer's memory."""
        block, time = self.block, x.shape[1]
        segments = parted(x, block.slots)
        real = key_mask(context, time, x.device)
        real = x.new_ones((x.shape[0], time), dtype=torch.bool) if real is None else real
        queries = segments
        if block.memory_size:
            queries = torch.cat((segments, segments[:, :, : block.length].mean(2, keepdim=True)), 2)
        keys, values, seen = self._sources(segments, parted(real, block.slots), context)
        mixed = functional.scaled_dot_product_attention(
            self._heads(self.query(queries)),
            self._heads(keys),
            self._heads(values),
            self._mask(seen, queries.shape[2]).flatten(0, 1),
            dropout_p=block.dropout if self.training else 0.0,
        )
        result: torch.Tensor = self.output(mixed.transpose(1, 2).reshape(queries.shape))
        if block.memory_size:
            context.memo[MEANS] = result[:, :, -1].tanh()
        return result[:, :, : block.slots].flatten(1, 2)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        # [batch * segments, heads, ...]: the fused kernels take four axes.
        x = x.flatten(0, 1)
        return x.reshape(*x.shape[:2], self.block.heads, -1).transpose(1, 2)

    def _sources(
        self, segments: torch.Tensor, real: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # [batch, segments, seen, ...]: keys and values of the bank, the left context, the segment, its right context.
        block, made = self.block, [(self.key(segments), "left_key"), (self.value(segments), "left_value")]
        parts = [[self._near(each, name, context)] for each, name in (*made, (real, "left_real"))]
        if block.memory_size:
            vectors = context.memo[MEANS]
            bank = self._past("bank", vectors, block.memory_size, context)
            there = vectors.new_ones(vectors.shape[:2], dtype=torch.bool)
            there = self._past("bank_real", there, block.memory_size, context)
            slots = windows(vectors.shape[1], 1, block.memory_size, bank.device)
            for part, each in zip(parts, (self.key(bank), self.value(bank), there), strict=True):
                part.insert(0, each[:, slots])
        keys, values, seen = (torch.cat(part, 2) for part in parts)
        return keys, values, seen

    def _near(self, x: torch.Tensor, name: str, context: Context) -> torch.Tensor:
        # [batch, segments, left context + slots, ...]
        block = self.block
        line = self._past(name, x[:, :, : block.length].flatten(1, 2), block.left_context, context)
        slots = windows(x.shape[1], block.length, block.left_context + block.length, x.device)
        return torch.cat((line[:, slots], x[:, :, block.length :]), 2)

    def _past(self, name: str, x: torch.Tensor, size: int, context: Context) -> torch.Tensor:
        # `x` [batch, time, ...] after the last `size` frames of the steps before, or after zeros.
        if not size:
            return x
        stepping = context.state is not None
        before = self.carried(context, name) if stepping else x.new_zeros((x.shape[0], size, *x.shape[2:]))
        line = torch.cat((before, x), 1)
        if stepping:
            self.carry(context, name, line[:, line.shape[1] - size :])
        return line

    def _mask(self, seen: torch.Tensor, queries: int) -> torch.Tensor:
        # [batch, segments, 1, queries, seen]; what is all padding may see all of it, so that it stays finite.
        seen, bank = seen[:, :, None], self.block.memory_size
        mask = seen.expand(-1, -1, queries, -1)
        if bank:
            # The mean of a segment does not see the bank.
            last = torch.cat((torch.zeros_like(seen[..., :bank]), seen[..., bank:]), -1)
            mask = torch.cat((mask[:, :, 1:], last), 2)
        return (mask | ~mask.any(-1, keepdim=True))[:, :, None]


def parted(x: torch.Tensor, slots: int) -> torch.Tensor:
    """Return [batch, segments * slots, ...] as [batch, segments, slots, ...]."""
    return x.reshape(x.shape[0], x.shape[1] // slots, slots, *x.shape[2:])


def windows(count: int, hop: int, size: int, device: torch.device) -> torch.Tensor:
    """Return [count, size] places: those of windows of `size` that begin every `hop`."""
    return torch.arange(count, device=device)[:, None] * hop + torch.arange(size, device=device)

"""The blocks of `architecture.blocks.streaming` on torch, and how attention sees chunks."""

import torch
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.streaming import LONGEST_DRAWN, Streaming
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds, key_mask, run

Chunk = tuple[int | torch.Tensor, int | torch.Tensor]


@builds(Streaming)
class ChunkByChunk(TorchBlock):
    """One after the other, under a chunk mask."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the last one's output."""
        context.chunk = self._chunk(x, context)
        for module in self.children():
            x = run(module, x, context)
        context.chunk = None
        return x

    def _chunk(self, x: torch.Tensor, context: Context) -> Chunk:
        block = self.block
        if not (block.dynamic and self.training) or context.state is not None:
            return block.chunk_size, block.left_chunks
        # Tensors all the way: a number would break the graph.
        whole = torch.scalar_tensor(x.shape[1], dtype=torch.int64, device=x.device)
        drawn = _draw(whole) + 1
        size = torch.where(drawn * 2 > whole, whole, drawn % LONGEST_DRAWN + 1)
        return size, _draw((whole - 1) // size + 1) if block.dynamic_left else -1


def _draw(below: torch.Tensor) -> torch.Tensor:
    return (torch.rand((), device=below.device) * below).long()


def remember(
    module: TorchBlock, key: torch.Tensor, value: torch.Tensor, context: Context
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keys and values [batch, heads, time, dim] with those of the left chunks before them, and carry on."""
    assert context.chunk is not None
    size, left = context.chunk
    if context.state is None or left == 0:
        return key, value
    key = torch.cat((module.carried(context, "past_key"), key), 2)
    value = torch.cat((module.carried(context, "past_value"), value), 2)
    first = 0 if left < 0 else key.shape[2] - size * left
    module.carry(context, "past_key", key[:, :, first:])
    module.carry(context, "past_value", value[:, :, first:])
    return key, value


def seen_in_chunks(module: TorchBlock, queries: int, key: torch.Tensor, context: Context) -> torch.Tensor:
    """Return [batch or 1, 1, queries, keys], true where a query may look; the queries are the last of the keys."""
    assert context.chunk is not None
    (size, left), keys = context.chunk, key.shape[2]
    chunks = torch.arange(keys, device=key.device) // size
    own = chunks[keys - queries :, None]
    seen: torch.Tensor = chunks <= own
    if isinstance(left, torch.Tensor) or left >= 0:
        seen = seen & (chunks >= own - left)
    real = _real(module, queries, key, context)
    return seen[None, None] if real is None else seen & real[:, None, None, :]


def _real(module: TorchBlock, queries: int, key: torch.Tensor, context: Context) -> torch.Tensor | None:
    # [batch, keys]: no padding, and none of the zeros that a stream begins with.
    past, real = key.shape[2] - queries, key_mask(context, queries, key.device)
    if context.state is None:
        return real
    assert context.chunk is not None
    size, left = context.chunk
    real = None if real is None else functional.pad(real, (past, 0), value=True)
    if left <= 0:
        return real
    valid, most = module.carried(context, "valid"), size * left
    module.carry(context, "valid", (valid + queries).clamp(max=most))
    begun: torch.Tensor = torch.arange(key.shape[2], device=key.device) >= most - valid[:, None]
    return begun if real is None else begun & real


def additive(seen: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return 0 where `seen`, else the least number: rows that see nothing stay finite, which they do not with -inf."""
    return torch.zeros_like(seen, dtype=x.dtype).masked_fill(~seen, torch.finfo(x.dtype).min)

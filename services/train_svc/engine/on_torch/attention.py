"""The blocks of `architecture.blocks.attention` on torch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.positions import Rope
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import Builder, TorchBlock, builds
from services.train_svc.engine.on_torch.positions import rotate, rotation
from services.train_svc.engine.on_torch.streaming import additive, remember, seen_in_chunks

Padding = tuple[torch.Tensor | None, torch.Tensor | None]
"""[batch] lengths, or a mask [batch, time], or neither."""


class Turn(NamedTuple):
    """What decides the angles of rotary positions; equal for all layers that share a table."""

    rope: Rope
    """The options."""
    dim: int
    """Features of a head."""
    time: int
    """Frames."""
    before: int
    """Frames that went before."""
    dtype: torch.dtype
    """Of what is turned."""
    device: torch.device
    """Where it lies."""

    def angles(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines [time, dim]."""
        places = torch.arange(self.time, device=self.device) + self.before
        cosines, sines = rotation(self.rope, self.dim, places)
        return cosines.to(self.dtype), sines.to(self.dtype)


@builds(Attention)
class MultiHeadAttention(TorchBlock):
    """[batch, time, features] to the same, through torch's fused kernels."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module

    def __init__(self, node: Node, builder: Builder) -> None:
        super().__init__(node, builder)
        # By the size of a head, not by their number: a shard of a tensor-parallel layer holds some of the heads.
        self.dim = features_of(node.children["query"]) // self.block.heads

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the attention's output."""
        query = self._heads(self.query(x), "query_norm")
        query, key, value, before = self._sources(x, query, context)
        mask = self._mask(query, key, before, context)
        mixed = attend(
            query,
            key,
            value,
            mask,
            # Without a mask, one query alone or the whole input: torch's own causal order begins at frame 0.
            causal=self.block.causal and mask is None and not before,
            scale=self.block.scale or None,
            dropout=self.block.dropout if self.training else 0.0,
        )
        if self.block.window and mask is not None and mask.dtype == torch.bool and torch.compiler.is_exporting():
            # All in a window may be padding: torch's kernels give 0 then, what ONNX makes of them a mean.
            mixed = mixed.where(mask.any(-1, keepdim=True), 0)
        result: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result

    def project(self, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values [batch, heads, time, dim] of what is looked at."""
        return self._heads(self.key(memory), "key_norm"), self._heads(self.value(memory))

    def _heads(self, x: torch.Tensor, norm: str = "") -> torch.Tensor:
        x = x.view(*x.shape[:-1], x.shape[-1] // self.dim, self.dim)
        if norm and self.block.norm_eps:
            x = getattr(self, norm)(x)
        return x.transpose(1, 2)

    def _sources(
        self, x: torch.Tensor, query: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        # Query, keys, values, and how many frames went before those of `x`.
        block = self.block
        if block.memory:
            if context.state is not None:
                kept = (self.carried(context, "memory_key"), self.carried(context, "memory_value"))
                return query, *kept, 0
            return query, *self.project(context.values[block.memory]), 0
        key, value = self.project(x)
        if context.chunk is not None:
            return self._in_chunks(query, key, value, context)
        stepping = context.state is not None and block.causal
        before = self.carried(context, "past_key").shape[2] if stepping else 0
        if block.rope is not None:
            turn = Turn(block.rope, query.shape[-1], x.shape[1], before, query.dtype, x.device)
            angles = once(context, turn, turn.angles)
            query, key = rotate(query, *angles), rotate(key, *angles)
        if stepping:
            key = torch.cat((self.carried(context, "past_key"), key), 2)
            value = torch.cat((self.carried(context, "past_value"), value), 2)
            self.carry(context, "past_key", key)
            self.carry(context, "past_value", value)
        return query, key, value, before

    def _in_chunks(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        key, value = remember(self, key, value, context)
        before = key.shape[2] - query.shape[2]
        if self.block.rope is not None:
            # Kept keys are not turned: distances alone count, so that places may begin with the first of them.
            angles = Turn(self.block.rope, key.shape[3], key.shape[2], 0, key.dtype, key.device).angles()
            query, key = rotate(query, *(part[before:] for part in angles)), rotate(key, *angles)
        return query, key, value, before

    def _mask(self, query: torch.Tensor, key: torch.Tensor, before: int, context: Context) -> torch.Tensor | None:
        block = self.block
        if context.chunk is not None and not block.memory:
            return additive(seen_in_chunks(self, query.shape[2], key, context), query)
        bias = context.values[block.bias_from] if block.bias_from else None
        lengths, real = self._padding(context)
        queries, keys = query.shape[2], key.shape[2]
        sight = Sight(lengths, real, bias, block.causal, block.window, queries, keys, before, query.device)
        mask: torch.Tensor | None = once(context, sight, lambda: visible(sight))
        return mask

    def _padding(self, context: Context) -> Padding:
        if not self.block.memory:
            return (context.lengths, context.mask) if context.state is None else (None, None)
        return context.padding.get(self.block.memory, (None, None))


def features_of(node: Node) -> int:
    """Return the features that a node makes."""
    size = node.output_shape[-1]
    assert size is not None
    return size


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Return softmax(q k^T scale + mask) v over [batch, heads, time, dim]; keys may have fewer heads."""
    groups, shared = query.shape[1] // key.shape[1], False
    # Asked by `if`, so that no symbol is left where the heads of a carried key are one.
    if groups > 1:
        # Only the flash kernels share keys between queries, and they take no mask and no float32.
        shared = mask is None and value.dtype != torch.float32
        if not shared:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return functional.scaled_dot_product_attention(
        query, key, value, mask, dropout_p=dropout, is_causal=causal, scale=scale, enable_gqa=shared
    )


def once(context: Context, what: tuple[Any, ...], make: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `make` gives
    """Return `make()`, computed once a run for all layers that need the same, which `what` names.

    While compiling each layer makes its own: the compilers merge them, and sizes that are symbols have no hash.
    """
    if torch.compiler.is_compiling():
        return make()
    if what not in context.memo:
        context.memo[what] = make()
    return context.memo[what]


class Sight(NamedTuple):
    """What decides where queries may look; equal for all layers that share a mask."""

    lengths: torch.Tensor | None
    """[batch] how many keys are real."""
    mask: torch.Tensor | None
    """[batch, keys] true where a key is real."""
    bias: torch.Tensor | None
    """[1, heads, queries, keys] that is added to the scores."""
    causal: bool
    """No query sees a later key."""
    window: int
    """Keys on each side that a query sees; 0: all."""
    queries: int
    """How many."""
    keys: int
    """How many."""
    before: int
    """Keys that went before the first query's own."""
    device: torch.device
    """Of the result."""


def visible(sight: Sight) -> torch.Tensor | None:
    """Return where queries may look, or with a bias that bias and a least number elsewhere.

    Returns:
        Boolean, or as the bias: [batch, 1 or heads, queries, keys], each of which may be 1. None: all is seen, or all
        up to the query's own key.
    """
    seen, device, bias, window = sight.mask, sight.device, sight.bias, sight.window
    if sight.lengths is not None:
        seen = torch.arange(sight.keys, device=device) < sight.lengths[:, None]
    seen = None if seen is None else seen.bool()[:, None, None, :]
    # One query alone sees every key so far; the kernels know the order by themselves where nothing else is hidden.
    several = sight.causal and sight.queries != 1
    if window or (several and (seen is not None or bias is not None or sight.before)):
        places = torch.arange(sight.queries, device=device)[:, None] + sight.before
        away = torch.arange(sight.keys, device=device)[None, :] - places
        near = away <= (0 if sight.causal else window)
        near = near & (away >= -window) if window else near
        seen = near if seen is None else seen & near
    if bias is None or seen is None:
        return seen if bias is None else bias
    hidden = torch.zeros((), dtype=bias.dtype, device=device).masked_fill(~seen, torch.finfo(bias.dtype).min)
    # A sum saves nothing for its gradient, so that recomputing one layer alone agrees with what ran at first.
    return bias + hidden

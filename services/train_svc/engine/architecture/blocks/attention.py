"""Multi-head attention in its one general form (Vaswani et al. 2017, arXiv 1706.03762)."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import RmsNorm
from services.train_svc.engine.architecture.blocks.positions import Rope
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.blocks.streaming import chunk_states
from services.train_svc.engine.architecture.node import Node, Place, Shape, State, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class Attention(Block):
    """softmax(q k^T scale + bias) v, then a linear layer: [time, features] to the same.

    In a stream or a decoding loop its keys and values are carried: those of the past where it is causal or chunked,
    those of `memory`, computed once, where it looks at another part.
    """

    kind: ClassVar[str] = "attention"

    heads: int = setting(least=1)
    """How many queries a frame has."""
    kv_heads: int = setting(0, least=0)
    """Keys and values a frame has, each shared by heads / kv_heads queries (arXiv 2305.13245); 0: as many as heads."""
    head_dim: int = setting(0, least=0)
    """Features a head; 0: features / heads."""
    bias: bool = True
    """The query and value layers, and the key layer unless `key_bias` is false, add a learned number."""
    key_bias: bool = True
    """The key layer adds one too, where `bias`."""
    out_bias: bool = True
    """The output layer adds a learned number."""
    causal: bool = False
    """No frame sees a later one."""
    window: int = setting(0, least=0)
    """Frames on each side that a frame sees; 0: all."""
    memory: str = ""
    """The named value to look at, such as an encoder's output; empty: the input itself."""
    rope: Rope | None = None
    """Rotary positions; none: the attention knows no order by itself."""
    bias_from: str = ""
    """A named value [heads, time, time] that is added before the softmax."""
    scale: float = setting(0.0, least=0)
    """Multiplies q k^T; 0: 1/sqrt(head_dim)."""
    norm_eps: float = setting(0.0, least=0)
    """Above 0: queries and keys of each head pass an RMS norm with this eps (Qwen3)."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the attention that is zeroed while training."""
    init_std: float = setting(0.0, least=0)
    """Of the four layers; see `linear`."""
    out_init_std: float = setting(0.0, least=0)
    """Of the output layer, where it differs: GPT-2 begins with a smaller one; 0: `init_std`."""
    query_init_std: float = setting(0.0, least=0)
    """Of the query layer, which T5 starts smaller instead of scaling q k^T; 0: `init_std`."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        time, wide = sequence(self, shape, at)
        source = at.value(self.memory) if self.memory else shape
        dim, groups = self._sizes(wide, at)
        inner, narrow = self.heads * dim, groups * dim
        children = {
            "query": at.child("query", self._linear(inner, self.bias, self.query_init_std), shape),
            "key": at.child("key", self._linear(narrow, self.bias and self.key_bias), source),
            "value": at.child("value", self._linear(narrow, self.bias), source),
        }
        if self.norm_eps:
            norm = RmsNorm(eps=self.norm_eps)
            children |= {name: at.child(name, norm, (time, dim)) for name in ("query_norm", "key_norm")}
        std = self.out_init_std or self.init_std
        output = Linear(out_features=wide, bias=self.out_bias, init_std=std, split="row")
        children["output"] = at.child("output", output, (time, inner))
        if self.bias_from:
            at.value(self.bias_from)
        cost = 2 * times(time, source[0], inner)
        return at.node(self, shape, shape, children=children, states=self._states(groups, dim, at), multiply_adds=cost)

    def _linear(self, out: int, bias: bool, std: float = 0.0) -> Linear:
        return Linear(out_features=out, bias=bias, init_std=std or self.init_std, split="column")

    def _sizes(self, wide: int, at: Place) -> tuple[int, int]:
        groups = self.kv_heads or self.heads
        if not self.head_dim and wide % self.heads:
            raise at.inside("heads").fault(f"{self.heads} heads do not divide {wide} features; choose a divisor")
        if self.heads % groups:
            raise at.inside("kv_heads").fault(f"{groups} do not divide {self.heads} heads; choose a divisor")
        return self.head_dim or wide // self.heads, groups

    def _states(self, groups: int, dim: int, at: Place) -> dict[str, State]:
        if self.memory:
            kept = State(shape=(groups, None, dim), constant=True)
            return {"memory_key": kept, "memory_value": kept}
        if at.chunk:
            return chunk_states(groups, dim, at.chunk)
        if self.causal:
            past = State(shape=(groups, None, dim))
            return {"past_key": past, "past_value": past}
        return {}

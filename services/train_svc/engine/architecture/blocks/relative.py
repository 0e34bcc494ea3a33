"""Attention that knows how far apart frames are (Transformer-XL, Dai et al. 2019, arXiv 1901.02860)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.blocks.streaming import chunk_states
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class RelativeAttention(Block):
    """softmax(((q + u) k^T + (q + v) r^T) / sqrt(head_dim)) value, then a linear layer: [time, features] to the same.

    r are sines and cosines of the distance between query and key through a linear layer of their own, u and v learned
    biases of each head: the attention of the Conformer (arXiv 2005.08100). Inside `streaming` it sees chunks, and
    carries the keys and values of those on the left.
    """

    kind: ClassVar[str] = "relative_attention"

    heads: int = setting(least=1)
    """How many queries, keys and values a frame has; they share the features."""
    bias: bool = True
    """The query, key, value and output layers add a learned number."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the attention that is zeroed while training."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        time, wide = sequence(self, shape, at)
        if wide % self.heads or wide % 2:
            message = f"{self.heads} heads, and 2 for sine and cosine, must divide {wide} features; choose divisors"
            raise at.inside("heads").fault(message)
        dim = wide // self.heads
        column = Linear(out_features=wide, bias=self.bias, split="column")
        children = {name: at.child(name, column, shape) for name in ("query", "key", "value")}
        distances = None if time is None else 2 * time - 1
        position = Linear(out_features=wide, bias=False, split="column")
        children["position"] = at.child("position", position, (distances, wide))
        children["output"] = at.child("output", Linear(out_features=wide, bias=self.bias, split="row"), shape)
        glorot = Init("uniform", math.sqrt(6 / (self.heads + dim)))
        biases = {name: Param(shape=(self.heads, dim), init=glorot) for name in ("content_bias", "position_bias")}
        states = chunk_states(self.heads, dim, at.chunk) if at.chunk else {}
        cost = 2 * times(time, time, wide) + times(time, distances, wide)
        return at.node(self, shape, shape, children=children, parameters=biases, states=states, multiply_adds=cost)

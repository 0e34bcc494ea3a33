"""Chunks of frames: what lets an encoder that sees whole recordings in training run on a stream.

Unified streaming (U2, Zhang et al. 2020, arXiv 2012.05481; U2++, Wu et al. 2021, arXiv 2106.05642): attention inside a
chunk sees all of it and a number of chunks before it, convolutions see no later frames. Fed chunk by chunk the blocks
then give what they give for the whole recording under the same mask.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block, chain, last_shape
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Node, Place, Shape, State
from services.train_svc.engine.reading import setting

LONGEST_DRAWN = 25
"""Frames of the largest chunk that is drawn, but for the whole recording (arXiv 2012.05481, section 3.3)."""


@dataclass(frozen=True, kw_only=True)
class Streaming(Block):
    """Its blocks one after the other, seeing chunk by chunk: [time, features] to the same time.

    Frame i sees the frames from (i // chunk_size - left_chunks) chunk_size, or 0, to (i // chunk_size + 1) chunk_size.
    In a stream each step takes one chunk, or several whole ones; the last may be short. Attention carries the keys and
    values of `left_chunks` chunks, convolutions what is left of their windows.
    """

    kind: ClassVar[str] = "streaming"

    chunk_size: int = setting(least=1)
    """Frames a chunk, as they come here: after subsampling by 4, 16 are 640 ms of speech."""
    left_chunks: int = setting(-1, least=-1)
    """Chunks before its own that a frame sees; -1: all, so that what a stream carries grows."""
    dynamic: bool = False
    """While training, draw the chunk of each batch from 1 to its time; those above half of it become the whole, others
    are taken modulo 25, plus 1: one model for every chunk size."""
    dynamic_left: bool = False
    """While training with `dynamic`, draw the number of left chunks too, from none to all; otherwise all are seen."""
    body: tuple[Block, ...] = ()
    """The blocks, which keep the time."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node.

        Raises:
            InvalidError: a block inside changes the time, or would see what a stream does not have yet.
        """
        time, _ = sequence(self, shape, at)
        if at.chunk:
            raise at.fault("stands inside another `streaming`; take one of them away")
        if self.dynamic_left and not self.dynamic:
            raise at.inside("dynamic_left").fault("draws with `dynamic` only; set dynamic: true")
        inside = dataclasses.replace(at, chunk=(self.chunk_size, self.left_chunks))
        children = chain(self.body, shape, inside, "body")
        output = last_shape(children, shape)
        for child in children.values():
            _check(child, at)
        if len(output) != len(shape) or output[0] != time:
            raise at.fault(f"the body makes {sizes(output)} of {sizes(shape)}, wanted the same time")
        return at.node(self, shape, output, children=children)


def _check(top: Node, at: Place) -> None:
    for node in top.walk():
        reason = _hindrance(node.block)
        if reason:
            raise at.inside("body").fault(f"{node.block.kind} {node.name!r} {reason}")


def _hindrance(block: Block) -> str:
    later = getattr(block, "pads", (0, 0))[1] > 0
    blind = getattr(block, "causal", True) is False and getattr(block, "kernel_size", 1) > 1
    if getattr(block, "stride", 1) > 1:
        return "changes the time; put it before `streaming`"
    if later or blind:
        cure = "set causal: true" if hasattr(block, "causal") else "put it before `streaming`"
        return f"sees later frames, which a stream does not have yet; {cure}"
    if getattr(block, "bidirectional", False) and hasattr(block, "hidden_size"):
        return "reads from the end, which a stream does not have yet; set bidirectional: false"
    if block.kind == "attention" and (getattr(block, "causal", False) or getattr(block, "window", 0)):
        return "has an order of its own, where chunks say what is seen; take causal and window away"
    if getattr(block, "bias_from", ""):
        return "has a bias by distance, which is not carried; use `relative_attention` or `rope`"
    return ""


def chunk_states(heads: int, dim: int, chunk: tuple[int, int]) -> dict[str, State]:
    """Return what an attention inside `streaming` carries: keys and values on the left, and how many are real."""
    size, left = chunk
    if left == 0:
        return {}
    past = State(shape=(heads, None if left < 0 else size * left, dim))
    count = {"valid": State(shape=(), dtype="int64")} if left > 0 else {}
    return {"past_key": past, "past_value": past, **count}

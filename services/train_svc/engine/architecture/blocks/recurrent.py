"""Layers that read a sequence frame by frame."""

import math
from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import branch, sizes
from services.train_svc.engine.architecture.blocks.normalization import LayerNorm
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, State, times
from services.train_svc.engine.reading import setting

GATES = 4
"""Input, forget, cell and output, in torch's order."""


@dataclass(frozen=True, kw_only=True)
class Lstm(Block):
    """Long short-term memory (Hochreiter and Schmidhuber 1997): [time, features] to [time, hidden_size].

    One layer, torch's `nn.LSTM` with its names and layout; put several in a row for a deep one. In a stream it goes on
    from where the step before ended. Padding after the samples' ends does not reach what is real, in either direction.
    """

    kind: ClassVar[str] = "lstm"
    sensitive: ClassVar[bool] = True

    hidden_size: int = setting(least=1)
    """Features that it remembers, and of its output."""
    bidirectional: bool = False
    """A second one reads from the end, and both outputs stand side by side; it cannot run as a stream."""
    norm_eps: float = setting(0.0, least=0)
    """Above 0: the gates, and the cell before the output, pass layer norms with this eps (arXiv 1607.06450); their
    biases replace those of the layer."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [time, hidden_size], or twice as many features when bidirectional."""
        time, wide = sequence(self, shape, at)
        if self.norm_eps and self.bidirectional:
            raise at.inside("norm_eps").fault("an lstm with norms reads one way; set this or bidirectional, not both")
        size, directions = self.hidden_size, 1 + self.bidirectional
        parameters: dict[str, Param] = {}
        for suffix in ("", "_reverse")[:directions]:
            parameters |= self._parameters(wide, suffix)
        return at.node(
            self,
            shape,
            (time, directions * size),
            children=self._norms(at),
            parameters=parameters,
            states={} if self.bidirectional else {"hidden": State(shape=(size,)), "cell": State(shape=(size,))},
            multiply_adds=directions * times(time, GATES * size, wide + size),
        )

    def _parameters(self, wide: int, suffix: str) -> dict[str, Param]:
        size, init = self.hidden_size, Init("uniform", 1 / math.sqrt(self.hidden_size))
        shapes = {"weight_ih": (GATES * size, wide), "weight_hh": (GATES * size, size)}
        biases = {} if self.norm_eps else {"bias_ih": (GATES * size,), "bias_hh": (GATES * size,)}
        return {f"{name}_l0{suffix}": Param(shape=each, init=init) for name, each in {**shapes, **biases}.items()}

    def _norms(self, at: Place) -> dict[str, Node]:
        if not self.norm_eps:
            return {}
        sizes = {"gate_norm": GATES * self.hidden_size, "cell_norm": self.hidden_size}
        return {name: at.child(name, LayerNorm(eps=self.norm_eps), (size,)) for name, size in sizes.items()}


@dataclass(frozen=True, kw_only=True)
class Feedback(Block):
    """Runs its body frame by frame and gives it the end of what it made for the frame before, zeros at first.

    The body gets each frame with those features behind its own, and works as it does in a stream: what it carries, it
    carries from frame to frame. So write what needs its own last result, as an attention does that looks where it
    looked before; what does not, runs faster outside.
    """

    kind: ClassVar[str] = "feedback"

    features: int = setting(least=1)
    """How many of the body's last features come back."""
    keep: tuple[str, ...] = ()
    """Values that the body names and that are used outside it, such as the weights of an attention."""
    body: tuple[Block, ...] = ()
    """The blocks; they keep the time."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; its output is the body's."""
        time, wide = sequence(self, shape, at)
        known = set(at.values)
        body = branch("body", self.body, (time, wide + self.features), at)
        last = body.output_shape[-1]
        if len(body.output_shape) != len(shape) or last is None or last < self.features:
            message = f"the body makes {sizes(body.output_shape)}, wanted [time, {self.features} features or more]"
            raise at.inside("features").fault(message)
        for name in self.keep:
            at.inside("keep").value(name)
        for name in set(at.values) - known - set(self.keep):
            del at.values[name]
        states = {"last": State(shape=(self.features,))}
        return at.node(self, shape, body.output_shape, children={"body": body}, states=states)


@dataclass(frozen=True, kw_only=True)
class ShiftRight(Block):
    """A frame of zeros, then all frames but the last: what a decoder reads while it learns to make these frames.

    In a decoding loop it changes nothing: feed it zeros first, then each frame that came out.
    """

    kind: ClassVar[str] = "shift_right"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        sequence(self, shape, at)
        return at.node(self, shape, shape)

"""What a transducer (RNN-T, Graves 2012, arXiv 1211.3711) has beside its encoder and its predictor.

The predictor reads the labels so far and the joiner scores the next one, for every frame and every count of labels. In
training the predictor takes the labels with `start_token` before them, so that row u of the scores knows the first u
labels; in a loop the caller feeds the start token first, then each label that it chose.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Lattice, Node, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class StartToken(Block):
    """Puts a fixed token before the others: [time] ids to [1 + time]. In a decoding loop it adds nothing."""

    kind: ClassVar[str] = "start_token"

    token: int = setting(0, least=0)
    """Its id: that of blank in a transducer."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        if len(shape) != 1:
            raise at.fault(f"got an input of shape {sizes(shape)}, wanted [time] of token ids")
        return at.node(self, shape, (None if shape[0] is None else shape[0] + 1,))


@dataclass(frozen=True, kw_only=True)
class Joiner(Block):
    """A linear layer of activation(frame + label): frames [T, D] and labels [U, D] to scores [T, U, vocab_size]."""

    kind: ClassVar[str] = "joiner"

    labels: str = setting()
    """The named value that the predictor made; frames are what flows in."""
    vocab_size: int = setting(least=1)
    """Scores of each pair: tokens, blank among them."""
    activation: Literal["relu", "tanh"] = "relu"
    """What the sum passes."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; its output is no picture, though it has three axes."""
        (time, wide), other = sequence(self, shape, at), at.value(self.labels)
        if len(other) != len(shape) or other[1] != wide:
            raise at.inside("labels").fault(f"frames are {sizes(shape)} and labels {sizes(other)}; make both as wide")
        # The layer stands here for its parameters; its cost is that of every pair.
        linear = at.child("linear", Linear(out_features=self.vocab_size), (wide,))
        pairs = max(times(time, other[0]) - 1, 0)
        output = Lattice((time, other[0], self.vocab_size))
        cost = pairs * linear.multiply_adds
        return at.node(self, shape, output, children={"linear": linear}, multiply_adds=cost)

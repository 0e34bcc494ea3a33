"""What self-supervised training adds: masked frames, and discrete targets."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class MaskedFrames(Block):
    """Puts one learned vector in the place of the frames that an input names (arXiv 2006.11477, section 3.1)."""

    kind: ClassVar[str] = "masked_frames"

    input: str = setting()
    """The input [time] that is true where a frame is hidden; where it is left out, none is."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        _, wide = sequence(self, shape, at)
        if len(at.value(self.input)) != 1:
            raise at.inside("input").fault(f"{self.input!r} is {sizes(at.value(self.input))}, wanted [time]")
        return at.node(self, shape, shape, parameters={"weight": Param(shape=(wide,), init=Init("uniform", 1.0))})


@dataclass(frozen=True, kw_only=True)
class ProductQuantizer(Block):
    """The nearest entry of each of several codebooks, end to end (arXiv 2006.11477, section 2).

    In evaluation the entry with the highest score; while training a draw by Gumbel noise (arXiv 1611.01144), whose
    gradient is that of the softmax.
    """

    kind: ClassVar[str] = "product_quantizer"
    sensitive: ClassVar[bool] = True

    groups: int = setting(2, least=1)
    """Codebooks."""
    entries: int = setting(320, least=1)
    """Vectors in each."""
    features: int = setting(256, least=1)
    """Of the output; each codebook gives features / groups."""
    temperature: float = setting(2.0, above=0)
    """Divides the scores while training: the lower, the harder the softmax."""
    noise: float = setting(1.0, least=0)
    """Multiplies the Gumbel noise while training; 0: none, for runs that must be repeatable."""
    probabilities: str = ""
    """Keep the softmax of the scores [time, groups * entries] under this name, for a loss that wants diversity."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [time, features]."""
        time, _ = sequence(self, shape, at)
        if self.features % self.groups:
            raise at.inside("groups").fault(f"{self.groups} do not divide {self.features} features; choose a divisor")
        count = self.groups * self.entries
        if self.probabilities:
            at.values[self.probabilities] = (time, count)
        return at.node(
            self,
            shape,
            (time, self.features),
            children={"scores": at.child("scores", Linear(out_features=count, init_std=1.0), shape)},
            parameters={"weight": Param(shape=(count, self.features // self.groups), init=Init("uniform", 1.0))},
            multiply_adds=times(time, self.entries, self.features),
        )

"""Where a frame stands: learned and sinusoidal positions, class tokens, biases by distance, rotation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, State
from services.train_svc.engine.reading import Checked, setting

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

POSITION = {"position": State(shape=(), dtype="int64", per_sample=False)}
"""The state of a block that must know how many frames went before."""


@dataclass(frozen=True, kw_only=True)
class LearnedPositions(Block):
    """Adds a learned vector for each position: [time, features]."""

    kind: ClassVar[str] = "learned_positions"
    sensitive: ClassVar[bool] = True

    length: int = setting(least=1)
    """How many positions there are; longer inputs are refused."""
    offset: int = setting(0, least=0)
    """Rows before the first position that are never used, as some published checkpoints have them."""
    init_std: float = setting(0.02, above=0)
    """Standard deviation of the first vectors."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        time, wide = sequence(self, shape, at)
        if time is not None and time > self.length:
            raise at.inside("length").fault(f"got {self.length}, but the input has {time} frames")
        weight = Param(shape=(self.length + self.offset, wide), init=Init("normal", self.init_std))
        return at.node(self, shape, shape, parameters={"weight": weight}, states=POSITION)


@dataclass(frozen=True, kw_only=True)
class FixedPositions(Block):
    """Adds sines and cosines of the position from a stored table that is never trained, as some checkpoints have it."""

    kind: ClassVar[str] = "fixed_positions"
    sensitive: ClassVar[bool] = True

    length: int = setting(least=1)
    """How many positions there are; longer inputs are refused."""
    interleaved: bool = False
    """As in `sinusoidal_positions`."""
    exclusive: bool = True
    """As in `sinusoidal_positions`."""
    spread: float = setting(0.0, least=0)
    """Above 0: the table is shifted to mean 0 and scaled to this standard deviation (0.1 in PatchTST)."""
    offset: ClassVar[int] = 0

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        time, wide = sequence(self, shape, at)
        if wide % 2:
            raise at.fault(f"got {wide} features, wanted an even number: half sines, half cosines")
        if time is not None and time > self.length:
            raise at.inside("length").fault(f"got {self.length}, but the input has {time} frames")
        init = Init("table", table=self.waves)
        weight = Param(shape=(self.length, wide), init=init, trainable=False, counted=True)
        return at.node(self, shape, shape, parameters={"weight": weight}, states=POSITION)

    def waves(self, shape: tuple[int, ...]) -> "NDArray[float32]":
        """Return the table [length, features]."""
        import numpy as np  # noqa: PLC0415 - only who builds a model needs it

        half = shape[1] // 2
        rates = 10000.0 ** (-np.arange(half) / (half if self.exclusive else max(half - 1, 1)))
        angles = np.arange(shape[0])[:, None] * rates
        pair = (np.sin(angles), np.cos(angles))
        table = np.stack(pair, -1).reshape(shape) if self.interleaved else np.concatenate(pair, -1)
        if self.spread:
            table = (table - table.mean()) / table.std(ddof=1) * self.spread
        return np.asarray(table, np.float32)


@dataclass(frozen=True, kw_only=True)
class SinusoidalPositions(Block):
    """Adds sines and cosines of the position (Vaswani et al. 2017, arXiv 1706.03762, section 3.5)."""

    kind: ClassVar[str] = "sinusoidal_positions"

    interleaved: bool = False
    """Sine and cosine of a frequency side by side, as in the paper; otherwise all sines, then all cosines."""
    base: float = setting(10000.0, above=1)
    """The longest wave is 2 pi times this."""
    exclusive: bool = True
    """Frequencies base^(-i / n) as in the paper; False: base^(-i / (n - 1)), as in tensor2tensor and Whisper."""
    scale: float = 1.0
    """Multiplies the input before."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        _, wide = sequence(self, shape, at)
        if wide % 2:
            raise at.fault(f"got {wide} features, wanted an even number: half sines, half cosines")
        return at.node(self, shape, shape, states=POSITION)


@dataclass(frozen=True, kw_only=True)
class ClassToken(Block):
    """Puts a learned frame before the others: [time, features] to [count + time, features] (arXiv 2010.11929)."""

    kind: ClassVar[str] = "class_token"

    count: int = setting(1, least=1)
    """How many frames."""
    init_std: float = setting(0.02, least=0)
    """Standard deviation of the first values."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        time, wide = sequence(self, shape, at)
        weight = Param(shape=(self.count, wide), init=Init("normal", self.init_std))
        return at.node(self, shape, (None if time is None else time + self.count, wide), parameters={"weight": weight})


@dataclass(frozen=True, kw_only=True)
class RelativeBias(Block):
    """A learned number for each head and bucket of distances, kept for `attention.bias_from` (T5, arXiv 1910.10683)."""

    kind: ClassVar[str] = "relative_bias"

    value: str = setting()
    """The name under which it is kept: [heads, time, time]."""
    heads: int = setting(least=1)
    """Of the attention that uses it."""
    buckets: int = setting(32, least=2)
    """How many numbers a head has."""
    max_distance: int = setting(128, least=2)
    """Distances from here on share the last bucket."""
    bidirectional: bool = True
    """Half of the buckets are for keys that come later; False: those share bucket 0."""
    init_std: float = setting(0.02, above=0)
    """Standard deviation of the first numbers."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; what flows through it stays."""
        time, _ = sequence(self, shape, at)
        at.values[self.value] = (self.heads, time, time)
        weight = Param(shape=(self.buckets, self.heads), init=Init("normal", self.init_std))
        # Its size, not a number within it, says how many frames went before: an export needs sizes from sizes.
        past = State(shape=(None,), dtype="int64", per_sample=False)
        return at.node(self, shape, shape, parameters={"weight": weight}, states={"past": past})


@dataclass(frozen=True, kw_only=True)
class Rope(Checked):
    """Rotary positions: the halves of each head are turned by angles that grow with time (arXiv 2104.09864)."""

    theta: float = setting(10000.0, above=1)
    """The slowest turn takes 2 pi times this."""
    factor: float = setting(1.0, least=1)
    """Llama 3's scaling: slow turns are this much slower; 1: none."""
    low_freq_factor: float = setting(1.0, above=0)
    """Waves longer than original_length / this are slowed in full."""
    high_freq_factor: float = setting(4.0, above=0)
    """Waves shorter than original_length / this are left alone."""
    original_length: int = setting(8192, least=1)
    """The context that the model was first trained with."""

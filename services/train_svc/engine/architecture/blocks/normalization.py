"""Normalisation, and the learned or random scales that stand beside it."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.node import ONES, PICTURE_AXES, Init, Node, Param, Place, Shape
from services.train_svc.engine.reading import setting


def channels(shape: Shape, at: Place) -> int:
    """Return the channels of a picture, or the features of anything else."""
    size = shape[0] if len(shape) == PICTURE_AXES else shape[-1] if shape else None
    if size is None:
        raise at.fault(f"got an input of shape {sizes(shape)}, whose channels or features are not known")
    return size


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Block):
    """Normalisation over the batch, a channel at a time (Ioffe and Szegedy 2015, arXiv 1502.03167)."""

    kind: ClassVar[str] = "batch_norm"
    sensitive: ClassVar[bool] = True

    eps: float = setting(1e-5, above=0)
    """Added to the variance."""
    momentum: float = setting(0.1, above=0, most=1)
    """Weight of a new batch in the running averages."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        wide = (channels(shape, at),)
        parameters = {
            "weight": Param(shape=wide, init=ONES),
            "bias": Param(shape=wide),
            "running_mean": Param(shape=wide, trainable=False),
            "running_var": Param(shape=wide, init=ONES, trainable=False),
            "num_batches_tracked": Param(shape=(), trainable=False, dtype="int64"),
        }
        return at.node(self, shape, shape, parameters=parameters)


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Block):
    """Normalisation over the features of each frame, or the channels of each pixel (arXiv 1607.06450)."""

    kind: ClassVar[str] = "layer_norm"
    sensitive: ClassVar[bool] = True

    eps: float = setting(1e-5, above=0)
    """Added to the variance."""
    bias: bool = True
    """Add a learned number to each feature."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        wide = (channels(shape, at),)
        parameters = {"weight": Param(shape=wide, init=ONES)} | ({"bias": Param(shape=wide)} if self.bias else {})
        return at.node(self, shape, shape, parameters=parameters)


@dataclass(frozen=True, kw_only=True)
class GroupNorm(Block):
    """Normalisation over groups of channels and all of a sample's time or pixels (arXiv 1803.08494)."""

    kind: ClassVar[str] = "group_norm"
    sensitive: ClassVar[bool] = True

    groups: int = setting(0, least=0)
    """How many groups; 0: each channel alone, which is instance normalisation."""
    eps: float = setting(1e-5, above=0)
    """Added to the variance."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays. Padding counts as the rest does."""
        wide = channels(shape, at)
        if wide % (self.groups or wide):
            raise at.inside("groups").fault(f"{self.groups} do not divide {wide} channels; choose a divisor")
        parameters = {"weight": Param(shape=(wide,), init=ONES), "bias": Param(shape=(wide,))}
        return at.node(self, shape, shape, parameters=parameters)


@dataclass(frozen=True, kw_only=True)
class RmsNorm(Block):
    """x / sqrt(mean(x^2) + eps) * weight over the features (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    kind: ClassVar[str] = "rms_norm"
    sensitive: ClassVar[bool] = True

    eps: float = setting(1e-6, above=0)
    """Added to the mean square."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        return at.node(self, shape, shape, parameters={"weight": Param(shape=(channels(shape, at),), init=ONES)})


@dataclass(frozen=True, kw_only=True)
class LayerScale(Block):
    """Multiplies each channel by a learned number that begins small (arXiv 2103.17239)."""

    kind: ClassVar[str] = "layer_scale"

    initial: float = 1e-6
    """What the numbers begin with."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        weight = Param(shape=(channels(shape, at),), init=Init("constant", self.initial))
        return at.node(self, shape, shape, parameters={"weight": weight})


@dataclass(frozen=True, kw_only=True)
class Dropout(Block):
    """Zeroes a share of the values while training and scales the rest up."""

    kind: ClassVar[str] = "dropout"

    rate: float = setting(0.5, least=0, below=1)
    """The share that is zeroed."""
    always: bool = False
    """Drop in use too, as the prenet of Tacotron does."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        return at.node(self, shape, shape)


@dataclass(frozen=True, kw_only=True)
class DropPath(Block):
    """Zeroes whole samples of a residual's body while training: stochastic depth (arXiv 1603.09382)."""

    kind: ClassVar[str] = "drop_path"

    rate: float = setting(0.1, least=0, below=1)
    """The share of samples that is zeroed."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        return at.node(self, shape, shape)

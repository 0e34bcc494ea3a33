"""Activations: functions of each value alone, and the gated linear unit."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.node import Node, Place, Shape


@dataclass(frozen=True, kw_only=True)
class Elementwise(Block):
    """A function of each value alone."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        return at.node(self, shape, shape)


@dataclass(frozen=True, kw_only=True)
class Relu(Elementwise):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True, kw_only=True)
class Relu6(Elementwise):
    """min(max(x, 0), 6)."""

    kind: ClassVar[str] = "relu6"


@dataclass(frozen=True, kw_only=True)
class Gelu(Elementwise):
    """x Phi(x), Phi the normal distribution function (arXiv 1606.08415)."""

    kind: ClassVar[str] = "gelu"


@dataclass(frozen=True, kw_only=True)
class GeluTanh(Elementwise):
    """Gelu by its tanh approximation, as GPT-2 has it."""

    kind: ClassVar[str] = "gelu_tanh"


@dataclass(frozen=True, kw_only=True)
class Silu(Elementwise):
    """x sigmoid(x), also named Swish (arXiv 1710.05941)."""

    kind: ClassVar[str] = "silu"


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True, kw_only=True)
class Tanh(Elementwise):
    """The hyperbolic tangent."""

    kind: ClassVar[str] = "tanh"


@dataclass(frozen=True, kw_only=True)
class HardSwish(Elementwise):
    """x min(max(x + 3, 0), 6) / 6 (arXiv 1905.02244)."""

    kind: ClassVar[str] = "hard_swish"


@dataclass(frozen=True, kw_only=True)
class HardSigmoid(Elementwise):
    """min(max(x + 3, 0), 6) / 6."""

    kind: ClassVar[str] = "hard_sigmoid"


@dataclass(frozen=True, kw_only=True)
class LogSoftmax(Elementwise):
    """log(exp(x) / sum of exp(x)) over the features."""

    kind: ClassVar[str] = "log_softmax"
    sensitive: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Glu(Block):
    """The gated linear unit: a sigmoid(b), a and b the halves of the features (arXiv 1612.08083)."""

    kind: ClassVar[str] = "glu"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the features are halved."""
        if len(shape) not in (1, 2) or shape[-1] is None or shape[-1] % 2:
            raise at.fault(f"glu got {sizes(shape)}, wanted [..., features] with an even number of features")
        return at.node(self, shape, (*shape[:-1], shape[-1] // 2))


@dataclass(frozen=True, kw_only=True)
class Scale(Elementwise):
    """Multiplies by a fixed number."""

    kind: ClassVar[str] = "scale"

    by: float = 1.0
    """The number."""

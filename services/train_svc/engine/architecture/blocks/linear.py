"""Matrix products and look-ups: linear layers, embeddings, and those that share another's matrix."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.node import PICTURE_AXES, ZEROS, Init, Node, Param, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class Linear(Block):
    """x W^T + b over the last axis."""

    kind: ClassVar[str] = "linear"

    out_features: int = setting(least=1)
    """Size of the last axis of the output; that of the input is inferred."""
    bias: bool = True
    """Add a learned number to each feature."""
    init_std: float = setting(0.0, least=0)
    """Standard deviation of the first weights; 0: uniform within 1/sqrt(in), bias too, as torch has it."""
    init_gain: float = setting(0.0, least=0)
    """Above 0: the first weights are uniform within this times sqrt(6 / (in + out)) instead (Glorot, Bengio 2010)."""
    split: Literal["", "column", "row"] = ""
    """How tensor parallelism may divide it: by outputs, by inputs, or not at all."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the last size becomes `out_features`."""
        wide = features(self, shape, at)
        uniform = Init("uniform", 1 / math.sqrt(wide))
        weight = Init("normal", self.init_std) if self.init_std else uniform
        if self.init_gain:
            weight = Init("uniform", self.init_gain * math.sqrt(6 / (wide + self.out_features)))
        parameters = {"weight": Param(shape=(self.out_features, wide), init=weight)}
        if self.bias:
            parameters["bias"] = Param(shape=(self.out_features,), init=ZEROS if self.init_std else uniform)
        cost = times(*shape, self.out_features)
        return at.node(self, shape, (*shape[:-1], self.out_features), parameters=parameters, multiply_adds=cost)


@dataclass(frozen=True, kw_only=True)
class TiedLinear(Block):
    """x E^T + b with the matrix E [vocabulary, features] of an earlier embedding (arXiv 1608.05859)."""

    kind: ClassVar[str] = "tied_linear"

    of: str = setting()
    """The embedding's name, with the names around it: `encoder.embedding`."""
    bias: bool = False
    """Add a learned number to each output."""
    scale: float = 1.0
    """Multiplies the input."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the last size becomes the vocabulary's."""
        vocabulary, wide = shared_matrix(self.of, at)
        if features(self, shape, at) != wide:
            raise at.fault(f"got {sizes(shape)}, wanted the {wide} features of {self.of!r}")
        parameters = {"bias": Param(shape=(vocabulary,))} if self.bias else {}
        cost = times(*shape, vocabulary)
        return at.node(self, shape, (*shape[:-1], vocabulary), parameters=parameters, multiply_adds=cost)


@dataclass(frozen=True, kw_only=True)
class Embedding(Block):
    """A learned vector for each token id: [time] to [time, features]."""

    kind: ClassVar[str] = "embedding"
    sensitive: ClassVar[bool] = True

    vocab_size: int = setting(least=1)
    """How many ids there are."""
    features: int = setting(least=1)
    """Size of a vector."""
    input: str = ""
    """Look up this value instead of what flows in, and add the vectors to it: token types beside tokens."""
    scale: float = 1.0
    """Multiplies the vectors: sqrt(features) in the Transformer."""
    init_std: float = setting(1.0, above=0)
    """Standard deviation of the first vectors."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        parameters = {"weight": Param(shape=(self.vocab_size, self.features), init=Init("normal", self.init_std))}
        return at.node(self, shape, _looked_up(self.input, self.features, shape, at), parameters=parameters)


@dataclass(frozen=True, kw_only=True)
class TiedEmbedding(Block):
    """Looks token ids up in the matrix of an earlier embedding."""

    kind: ClassVar[str] = "tied_embedding"

    of: str = setting()
    """The embedding's name, with the names around it."""
    scale: float = 1.0
    """Multiplies the vectors."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        return at.node(self, shape, _looked_up("", shared_matrix(self.of, at)[1], shape, at))


def shared_matrix(name: str, at: Place) -> tuple[int, int]:
    """Return [vocabulary, features] of the embedding that has the name."""
    weight = at.earlier(name).parameters.get("weight")
    if weight is None or len(weight.shape) != 2:  # noqa: PLR2004 - a matrix
        raise at.inside("of").fault(f"{name!r} has no matrix to share, wanted an embedding")
    rows, columns = weight.shape
    return rows, columns


def _looked_up(value: str, wide: int, shape: Shape, at: Place) -> Shape:
    ids = at.value(value) if value else shape
    if len(ids) != 1:
        raise at.fault(f"got an input of shape {sizes(ids)}, wanted [time] of token ids")
    if value and shape != (*ids, wide):
        raise at.fault(f"the vectors of {value!r} are {sizes((*ids, wide))} and are added to {sizes(shape)}")
    return (*ids, wide)


def features(block: Block, shape: Shape, at: Place) -> int:
    """Return the last size of a vector or sequence.

    Raises:
        InvalidError: it is a picture, or not known.
    """
    if len(shape) == PICTURE_AXES:
        message = f"{block.kind} got a picture of shape {sizes(shape)}, wanted [features]; "
        raise at.fault(message + "put 'flatten' or 'global_avg_pool' before it")
    if not shape or shape[-1] is None:
        raise at.fault(f"{block.kind} got {sizes(shape)}, wanted [..., features] with features known")
    return shape[-1]

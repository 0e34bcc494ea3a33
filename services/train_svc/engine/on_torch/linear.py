"""The blocks of `architecture.blocks.linear` on torch."""

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedEmbedding, TiedLinear
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import Builder, TorchBlock, builds


@builds(Linear)
def linear(node: Node, _builder: Builder) -> nn.Module:
    """Return torch's own layer, which sharding and quantisation know."""
    rows, columns = node.parameters["weight"].shape
    return nn.Linear(columns, rows, bias="bias" in node.parameters)


@builds(Embedding)
class LookUp(TorchBlock):
    """Vectors of token ids."""

    weight: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the vectors, added to `x` where another value is looked up."""
        if not self.block.input:
            return _scaled(functional.embedding(x, self.weight), self.block.scale)
        ids = context.values.get(self.block.input)
        # Left out: everything is of the first kind, as Hugging Face has it.
        vectors = self.weight[0] if ids is None else functional.embedding(ids, self.weight)
        return x + _scaled(vectors, self.block.scale)


class Tied(TorchBlock):
    """Uses the matrix of another block."""

    def __init__(self, node: Node, builder: Builder) -> None:
        super().__init__(node, builder)
        # In a tuple, so that torch does not count the other's parameters as this one's too.
        self.other = (builder.modules[self.block.of],)

    @property
    def matrix(self) -> torch.Tensor:
        """The shared matrix [vocabulary, features]."""
        return self.other[0].get_parameter("weight")


@builds(TiedLinear)
class TiedProjection(Tied):
    """x E^T + b."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return one score a token of the vocabulary."""
        return functional.linear(_scaled(x, self.block.scale), self.matrix, self._parameters.get("bias"))


@builds(TiedEmbedding)
class TiedLookUp(Tied):
    """Vectors of token ids."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the vectors."""
        return _scaled(functional.embedding(x, self.matrix), self.block.scale)


def _scaled(x: torch.Tensor, scale: float) -> torch.Tensor:
    return x if scale == 1 else x * scale

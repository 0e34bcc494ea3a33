"""Columns of tables as frames (Gorishniy et al. 2021, arXiv 2106.11959, section 3.3)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class NumberTokens(Block):
    """A frame for each number: x_j W_j + b_j, [columns] to [columns, features]."""

    kind: ClassVar[str] = "number_tokens"
    sensitive: ClassVar[bool] = True

    features: int = setting(least=1)
    """Of a frame."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        if len(shape) != 1 or shape[0] is None:
            raise at.fault(f"number_tokens got {sizes(shape)}, wanted [columns] with their number known")
        param = Param(shape=(shape[0], self.features), init=Init("uniform", 1 / math.sqrt(self.features)))
        return at.node(self, shape, (shape[0], self.features), parameters={"weight": param, "bias": param})


@dataclass(frozen=True, kw_only=True)
class CategoryTokens(Block):
    """A frame for each category: a vector looked up in the column's table, and one for the column itself."""

    kind: ClassVar[str] = "category_tokens"
    sensitive: ClassVar[bool] = True

    cardinalities: tuple[int, ...] = setting(least=1)
    """How many categories each column has."""
    features: int = setting(least=1)
    """Of a frame."""
    input: str = ""
    """Look up this value instead of what flows in, and put its frames after those that flow."""

    @property
    def starts(self) -> list[int]:
        """Where each column's rows begin: the tables lie one after the other."""
        return [sum(self.cardinalities[:column]) for column in range(len(self.cardinalities))]

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [columns, features], or those after the frames that were there."""
        count = len(self.cardinalities)
        given = at.value(self.input) if self.input else shape
        if given != (count,):
            message = f"got {sizes(given)}, wanted [{count}]: a category for each of the cardinalities"
            raise at.inside("cardinalities").fault(message)
        if self.input and shape[1:] != (self.features,):
            raise at.fault(f"frames of {self.features} features are put after {sizes(shape)}; make them alike")
        init = Init("uniform", 1 / math.sqrt(self.features))
        parameters = {
            "weight": Param(shape=(sum(self.cardinalities), self.features), init=init),
            "bias": Param(shape=(count, self.features), init=init),
        }
        before = (shape[0] or 0) if self.input else 0
        return at.node(self, shape, (before + count, self.features), parameters=parameters)

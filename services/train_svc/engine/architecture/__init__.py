"""Models described as data: typed blocks, shape inference, YAML."""

from services.train_svc.engine.architecture.block import KINDS, Block
from services.train_svc.engine.architecture.blocks import FAMILIES
from services.train_svc.engine.architecture.description import (
    INPUT,
    OUTPUT,
    Description,
    Input,
    from_yaml,
    read_description,
    to_yaml,
)
from services.train_svc.engine.architecture.node import Node, Param, Shape, State

__all__ = [
    "FAMILIES",
    "INPUT",
    "KINDS",
    "OUTPUT",
    "Block",
    "Description",
    "Input",
    "Node",
    "Param",
    "Shape",
    "State",
    "from_yaml",
    "read_description",
    "to_yaml",
]

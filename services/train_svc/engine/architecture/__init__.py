"""Models described as data: typed blocks, shape inference, YAML."""

from services.train_svc.engine.architecture.block import Block, Shape
from services.train_svc.engine.architecture.blocks import (
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    Relu,
    Residual,
    Sequential,
)
from services.train_svc.engine.architecture.description import Description, from_yaml, read_description, to_yaml

__all__ = [
    "BatchNorm",
    "Block",
    "Conv2d",
    "Description",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "Linear",
    "MaxPool2d",
    "Relu",
    "Residual",
    "Sequential",
    "Shape",
    "from_yaml",
    "read_description",
    "to_yaml",
]

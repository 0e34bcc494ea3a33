"""A plain multilayer perceptron over the flattened input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Sequential
from services.train_svc.engine.architecture.blocks.elementwise import Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import Dropout
from services.train_svc.engine.architecture.blocks.reshape import Flatten
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {"digits": {"in_channels": 1, "image_height": 8, "image_width": 8}}


@dataclass(frozen=True, kw_only=True)
class Mlp(Checked):
    """Options of `mlp`."""

    in_channels: int = setting(1, least=1)
    """Channels of a picture: 1 grey, 3 colour."""
    image_height: int = setting(8, least=1)
    """Pixels from top to bottom."""
    image_width: int = setting(8, least=1)
    """Pixels from left to right."""
    num_classes: int = setting(10, least=2)
    """Classes to tell apart."""
    hidden: tuple[int, ...] = setting((128, 128), least=1)
    """Features of each hidden layer."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the features zeroed after each hidden layer."""


def build(options: Mlp) -> Description:
    """Return the network: flatten, hidden layers, classifier."""
    layers = tuple(_layer(features, options.dropout, index) for index, features in enumerate(options.hidden))
    return Description(
        name="mlp",
        input_shape=(options.in_channels, options.image_height, options.image_width),
        body=(Flatten(), *layers, Linear(name="classifier", out_features=options.num_classes)),
    )


def _layer(features: int, dropout: float, index: int) -> Sequential:
    body: tuple[Block, ...] = (Linear(out_features=features), Relu())
    return Sequential(name=f"hidden{index + 1}", body=(*body, Dropout(rate=dropout)) if dropout else body)


TEMPLATE = Template(
    name="mlp",
    title="Multilayer perceptron",
    domain="tables",
    paper="",
    sizes=SIZES,
    options=Mlp,
    build=build,
)

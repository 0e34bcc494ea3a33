"""The last linear layer of a model put off, so that the loss computes its scores in chunks."""

from dataclasses import dataclass
from types import MethodType

import torch
from torch import nn

from services.train_svc.engine.architecture import Node
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.architecture.blocks.linear import Linear, TiedLinear
from services.train_svc.engine.on_torch.linear import Tied
from services.train_svc.engine.on_torch.memory.cross_entropy import linear_cross_entropy
from services.train_svc.engine.on_torch.model import Model

ROWS = ("part", "sequential", "streaming")
"""Blocks whose last block makes their output."""


@dataclass(frozen=True)
class Head:
    """The layer that was put off."""

    name: str
    """Of the layer within the model."""
    layer: nn.Module
    """It still owns its parameters, by their names."""

    @property
    def weight(self) -> torch.Tensor:
        """[vocabulary, features], as it is now; an embedding's where they share it."""
        return self.layer.matrix if isinstance(self.layer, Tied) else self.layer.get_parameter("weight")

    @property
    def bias(self) -> torch.Tensor | None:
        """[vocabulary], or None."""
        return self.layer._parameters.get("bias")

    def cross_entropy(
        self,
        hidden: torch.Tensor,
        labels: torch.Tensor,
        *,
        places: torch.Tensor | None = None,
        ignored: int = -100,
        label_smoothing: float = 0.0,
        chunk: int = 0,
    ) -> torch.Tensor:
        """Return the sum of the cross entropy of the scores that the layer would give (`linear_cross_entropy`)."""
        return linear_cross_entropy(
            hidden,
            self.weight,
            self.bias,
            labels,
            places=places,
            ignored=ignored,
            label_smoothing=label_smoothing,
            chunk=chunk,
        )


def outlet(model: nn.Module) -> str:
    """Return the name of the linear layer whose output is the model's one output; empty: there is none."""
    if not isinstance(model, Model) or len(model.description.outputs) > 1:
        return ""
    *_, node = model.description.root.children.values()
    if model.description.outputs and not _gives(node, model.description.outputs[0]):
        return ""
    while node.block.kind in ROWS and node.children:
        *_, node = node.children.values()
    return node.name if isinstance(node.block, Linear | TiedLinear) else ""


def _gives(node: Node, output: str) -> bool:
    return isinstance(node.block, Part) and node.block.output == output


def defer_head(model: nn.Module) -> Head | None:
    """Let the model give hidden vectors instead of scores while it trains, and return the layer that makes the scores.

    In evaluation it gives scores as ever. Call it before the model is compiled; no parameter changes its name.

    Returns:
        The layer, or None where the model's one output is not that of a linear layer.
    """
    name = outlet(model)
    if not name:
        return None
    layer = model.get_submodule(name)
    vars(layer)["forward"] = MethodType(_put_off, layer)
    return Head(name, layer)


def restore_head(model: nn.Module) -> None:
    """Let the model give scores again. Compile it anew after it."""
    name = outlet(model)
    if name:
        vars(model.get_submodule(name)).pop("forward", None)


def _put_off(layer: nn.Module, x: torch.Tensor, *context: object) -> torch.Tensor:
    if not layer.training:
        scores: torch.Tensor = type(layer).forward(layer, x, *context)
        return scores
    scale = layer.block.scale if isinstance(layer, Tied) else 1.0
    return x if scale == 1 else x * scale

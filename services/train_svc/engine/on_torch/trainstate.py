"""All that a run on torch needs to go on, by canonical name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from services.train_svc.engine.fitting import check_fit
from services.train_svc.engine.on_torch.optimizer import fill_optimizer, optimizer_tensors
from services.train_svc.engine.on_torch.tensors import fill, named_tensors, shapes
from services.train_svc.engine.parts import part_of

if TYPE_CHECKING:
    from services.train_svc.engine.on_torch.learner import TorchLearner

Flat = dict[str, torch.Tensor]


def state_tensors(learner: "TorchLearner") -> Flat:
    """Return model, optimizer, average, loss scale and clipping history as `<part>/<name>`."""
    parts: dict[str, Mapping[str, torch.Tensor]] = {
        "model": named_tensors(learner.model),
        "optimizer": optimizer_tensors(learner.model, learner.optimizer),
        "ema": learner.ema.tensors if learner.ema else {},
        "scale": learner.scale.tensors() if learner.scale else {},
        "clip": learner.clipper.tensors(),
    }
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def fill_state(learner: "TorchLearner", tensors: Mapping[str, Any]) -> None:
    """Go on from what `state_tensors` gave, on this engine or the other; all or nothing.

    Raises:
        InvalidError: it is of another model.
    """
    parts = {part: _part(tensors, part) for part in ("model", "optimizer", "ema", "scale", "clip")}
    if learner.ema:
        given = {name: tuple(tensor.shape) for name, tensor in parts["ema"].items()}
        check_fit(shapes(learner.model), given, "the checkpoint's average")
    fill(learner.model, parts["model"], "the checkpoint")
    fill_optimizer(learner.model, learner.optimizer, parts["optimizer"])
    if learner.ema:
        learner.ema.read(parts["ema"])
    if learner.scale and parts["scale"]:
        learner.scale.fill(parts["scale"])
    learner.clipper.fill(parts["clip"])


def _part(tensors: Mapping[str, Any], part: str) -> Flat:
    return {name: torch.as_tensor(tensor) for name, tensor in part_of(tensors, f"{part}/").items()}

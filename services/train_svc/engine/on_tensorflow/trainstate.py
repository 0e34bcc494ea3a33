"""All that a run on TensorFlow needs to go on, by canonical name and in the canonical layout."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.fitting import check_fit
from services.train_svc.engine.on_tensorflow.optimizer import fill_optimizer, optimizer_tensors
from services.train_svc.engine.on_tensorflow.tensors import fill, named_tensors, shapes
from services.train_svc.engine.parts import part_of

if TYPE_CHECKING:
    from services.train_svc.engine.on_tensorflow.learner import TensorflowLearner

Arrays = dict[str, npt.NDArray[Any]]


class TensorflowSnapshot:
    """Arrays copied away from training.

    Args:
        arrays: by name; nobody else holds them.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def tensors(self) -> Arrays:
        """Return them."""
        return self._arrays

    @property
    def size_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(array.nbytes for array in self._arrays.values())


def state_arrays(learner: "TensorflowLearner") -> Arrays:
    """Return model, optimizer, average and clipping history as `<part>/<name>`, copied."""
    parts: dict[str, Mapping[str, Any]] = {
        "model": named_tensors(learner.model),
        "optimizer": optimizer_tensors(learner.model, learner.optimizer),
        "ema": learner.ema.tensors if learner.ema else {},
        "clip": learner.clipper.tensors(),
    }
    return {f"{part}/{name}": np.array(each) for part, tensors in parts.items() for name, each in tensors.items()}


def fill_state(learner: "TensorflowLearner", tensors: Mapping[str, Any]) -> None:
    """Go on from what `state_arrays` gave, or torch's `state_tensors`; all or nothing.

    Raises:
        InvalidError: it is of another model.
    """
    parts = {part: _part(tensors, part) for part in ("model", "optimizer", "ema", "clip")}
    if learner.ema:
        given = {name: tuple(tensor.shape) for name, tensor in parts["ema"].items()}
        check_fit(shapes(learner.model), given, "the checkpoint's average")
    fill(learner.model, parts["model"], "the checkpoint")
    fill_optimizer(learner.model, learner.optimizer, parts["optimizer"])
    if learner.ema:
        learner.ema.read(parts["ema"])
    learner.clipper.fill(parts["clip"])


def _part(tensors: Mapping[str, Any], part: str) -> Arrays:
    return {name: np.asarray(tensor) for name, tensor in part_of(tensors, f"{part}/").items()}

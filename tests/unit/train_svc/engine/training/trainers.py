"""Trainers on tiny data, and what they tell."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.ports import Point, Ports
from services.train_svc.engine.training.trainer import Trainer

Array = npt.NDArray[Any]
Pairs = list[tuple[Array, Array]]
SMALL_MLP: Mapping[str, Any] = {"template": "mlp", "hidden": [16], "dropout": 0.0}
ALL_AT_ONCE: Mapping[str, Any] = {
    "optimizer": {"name": "adamw", "lr": 0.01},
    "accumulate": 2,
    "ema_decay": 0.9,
    "clip": "autoclip",
    "label_smoothing": 0.1,
    "mix": {"cutmix": 1.0, "probability": 0.7},
    "augment": {"erase": 0.5},
}
"""All that could make a resumed run differ; a model with dropout comes on top."""


class Recorder:
    """Keeps every point."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int, float]] = []

    def log(self, points: Sequence[Point]) -> None:
        """Keep them."""
        self.points += [(point.key, point.step, point.value) for point in points]

    def of(self, key: str) -> list[float]:
        """Return the values of one metric, in the order in which they came."""
        return [value for name, _, value in self.points if name == key]

    @property
    def steps(self) -> int:
        """The last step that was told of."""
        return max((step for _, step, _ in self.points), default=0)


def pictures(batches: int = 6, size: int = 16, *, seed: int = 0, classes: int = 10) -> Pairs:
    """Return batches of digits, uint8 [size, 1, 8, 8], and their labels [size], all below `classes`."""
    from sklearn.datasets import load_digits

    found, labels = load_digits(return_X_y=True)
    found, labels = found[labels < classes], labels[labels < classes]
    order = np.random.default_rng(seed).permutation(len(labels))[: batches * size].reshape(batches, size)
    scaled = np.round(found * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    return [(scaled[rows], labels[rows].astype(np.int64)) for rows in order]


def vectors(batches: int = 4, size: int = 8, width: int = 4, classes: int = 3, seed: int = 0) -> Pairs:
    """Return batches of vectors, float32 [size, width], and of the class of each by its largest entry."""
    random = np.random.default_rng(seed)
    found = [random.standard_normal((size, width)).astype(np.float32) for _ in range(batches)]
    return [(each, each[:, :classes].argmax(axis=1)) for each in found]


def trainer(model: Any, data: Any, folder: Path, **settings: Any) -> Trainer:
    """Return a trainer that says nothing."""
    return Trainer(model, data, folder=folder, **{"display": "silent", "epochs": 2, "threads": 1, **settings})


def curve_of(trained: Trainer, *, stop_at: int = 10**9, resume: bool = False) -> Recorder:
    """Return what a trainer measures until a step."""
    recorder = Recorder()
    trained.fit(resume=resume, ports=Ports(metrics=recorder, stop=lambda: recorder.steps >= stop_at))
    return recorder


def in_pieces(make: Callable[[int], Trainer], stops: Sequence[int]) -> tuple[Recorder, Trainer]:
    """Return what trainers of one folder measure, each going on where the one before was stopped, and the last one.

    Args:
        make: makes the trainer of an attempt, from 0.
        stops: steps at which they are stopped; one more goes on to the end.
    """
    together = Recorder()
    for attempt, stop in enumerate((*stops, 10**9)):
        last = make(attempt)
        last.fit(resume=True, ports=Ports(metrics=together, stop=lambda stop=stop: together.steps >= stop))
    return together, last


def weights_of(trained: Trainer) -> dict[str, Array]:
    """Return a copy of a trainer's weights by canonical name."""
    state = trained.learner.state().tensors()
    return {name.removeprefix("model/"): np.array(each) for name, each in state.items() if name.startswith("model/")}

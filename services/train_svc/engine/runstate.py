"""A run between two steps in one file: weights, optimizer moments, moving average, schedule. Either engine goes on."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.errors import InvalidError
from services.train_svc.engine.engines import engine_of
from services.train_svc.engine.fitting import check_fit
from services.train_svc.engine.parts import part_of
from services.train_svc.engine.reading import read
from services.train_svc.engine.spec import OptimizerSpec, ScheduleSpec

MODEL, OPTIMIZER, EMA = "model/", "optimizer/", "ema/"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands."""

    step: int
    """Steps made. The rate is a pure function of it and the schedule, so that these two are the scheduler's state."""
    schedule: ScheduleSpec | None = None
    """How the learning rate goes."""


def build_optimizer(model: Any, spec: OptimizerSpec) -> Any:  # noqa: ANN401 - of the model's engine
    """Return the optimizer of the model's engine: torch's own, or one that computes the same on TensorFlow."""
    return engine_of(model).optimizer.build_optimizer(model, spec)


def build_ema(model: Any, decay: float) -> Any:  # noqa: ANN401 - of the model's engine
    """Return a moving average of the model's weights; `update(model)` after each step."""
    return engine_of(model).ema.Ema(model, decay)


def settle_gates(model: Any, optimizer: Any, gradients: Any = None) -> Any:  # noqa: ANN401 - of the model's engine
    """Let gradient reset gates act, after the backward pass and before clipping and the optimizer's step.

    Args:
        model: what `build` made.
        optimizer: what `build_optimizer` made of it.
        gradients: on TensorFlow those of `optimizer.trained`; on torch they are in the parameters.

    Returns:
        On TensorFlow the gradients to apply, on torch None.
    """
    arguments = (model, optimizer) if gradients is None else (model, optimizer, gradients)
    return engine_of(model).gates.settle_gates(*arguments)


def save_state(
    path: str | Path,
    model: Any,  # noqa: ANN401 - of either engine
    optimizer: Any,  # noqa: ANN401
    position: Position,
    *,
    ema: Any = None,  # noqa: ANN401
) -> None:
    """Write everything that a run needs to go on, as safetensors in the canonical layout.

    Args:
        path: the file, written whole or not at all.
        model: what `build` made.
        optimizer: what `build_optimizer` made of it.
        position: where the run stands.
        ema: what `build_ema` made of it; None: there is none.
    """
    engine = engine_of(model)
    parts = {
        MODEL: engine.tensors.named_tensors(model),
        OPTIMIZER: engine.optimizer.optimizer_tensors(model, optimizer),
        EMA: ema.tensors if ema is not None else {},
    }
    tensors = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    note = json.dumps(dataclasses.asdict(position))
    engine.tensors.write_tensors(tensors, Path(path), {"position": note})


def load_state(path: str | Path, model: Any, optimizer: Any, *, ema: Any = None) -> Position:  # noqa: ANN401
    """Fill model, optimizer and average from a file that either engine wrote, and return where the run stands.

    Raises:
        InvalidError: the file is damaged or of something else, or belongs to another model.
    """
    engine = engine_of(model)
    tensors, note = engine.tensors.read_tensors(Path(path)), engine.tensors.read_metadata(Path(path))
    if "position" not in note:
        raise InvalidError(f"{path} holds weights alone, wanted what `save_state` wrote", field="path")
    weights = part_of(tensors, MODEL)
    average = part_of(tensors, EMA)
    if ema is not None:
        # Before anything is changed.
        check_fit(engine.tensors.shapes(model), {name: tuple(t.shape) for name, t in average.items()}, f"{path}'s ema")
    engine.tensors.fill(model, weights, str(path))
    engine.optimizer.fill_optimizer(model, optimizer, part_of(tensors, OPTIMIZER))
    if ema is not None:
        ema.read(average)
    return read(Position, json.loads(note["position"]), "position")

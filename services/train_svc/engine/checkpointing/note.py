"""What a checkpoint says of itself, in `checkpoint.json`."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from services.train_svc.engine.reading import fault, read

NOTE_FILE = "checkpoint.json"
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Note:
    """Where a run stood, and what it belongs to."""

    step: int
    """Steps made. Schedule, order and every random draw follow from it and the seed."""
    steps_per_epoch: int
    """Steps in an epoch, which the data must still give."""
    spec_digest: str
    """Of the spec that it belongs to."""
    dataset_digest: str
    """Of the data that it belongs to; may be empty."""
    engine: str
    """`torch` or `tensorflow`: who computed it. Either goes on from it."""
    engine_version: str
    """For people who look for the reason of a difference."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the last evaluation measured; values that are not finite are left out of the file."""
    evaluated_step: int | None = None
    """Steps made when it was measured; None: there was no evaluation yet. Only a checkpoint of that very step holds the
    weights that were evaluated, and can be one of the best."""
    stopping: dict[str, Any] = field(default_factory=dict)
    """What early stopping knows; see `EarlyStopping.state`."""
    state_digest: str = ""
    """Of `state.safetensors`; writing fills it in."""
    format: int = FORMAT
    """Version of this form."""

    def __post_init__(self) -> None:
        """Check that metrics say which weights they are of.

        Raises:
            InvalidError: they do not.
        """
        if self.metrics and self.evaluated_step is None:
            raise fault("evaluated_step", "is required beside metrics: the steps made when they were measured")

    def value_of(self, metric: str) -> float | None:
        """Return the metric of these very weights; None: not measured, or not finite."""
        value = self.metrics.get(metric, math.nan)
        return value if self.evaluated_step == self.step and math.isfinite(value) else None

    def to_json(self) -> str:
        """Return it as the file's text."""
        finite = {name: value for name, value in self.metrics.items() if math.isfinite(value)}
        return json.dumps({**dataclasses.asdict(self), "metrics": finite}, indent=2) + "\n"


def read_note(data: object) -> Note:
    """Return the note of parsed JSON of this form.

    Raises:
        InvalidError: it is none.
    """
    return read(Note, data, NOTE_FILE)

"""Preprocessing as preprocess.yaml describes it: raw bytes to the model's first input.

Training, calibration and serving all use this, so a model sees the same numbers everywhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from services.common.errors import InvalidError, Violation
from services.common.names import nearest
from services.common.preprocess.registry import Step, step_class


class Preprocess:
    """The steps, in order. Immutable: any number of threads may use one.

    `spec` is the list of preprocess.yaml: each item a step's name, or a mapping of it to its options. An
    empty list is `[none]`. Raises InvalidError with every fault, each by its place.
    """

    def __init__(self, spec: Sequence[Any]) -> None:
        if isinstance(spec, (str, bytes)) or not isinstance(spec, Sequence):
            raise InvalidError(
                "preprocess must be a list of steps such as '- normalize: {mean: [0.5]}'", field="preprocess"
            )
        faults: list[Violation] = []
        steps: list[Step] = []
        for index, item in enumerate(spec or ["none"]):
            try:
                steps.append(_build(item, f"preprocess[{index}]"))
            except InvalidError as error:
                faults += error.violations
        if faults:
            raise InvalidError("; ".join(fault.message for fault in faults), violations=faults)
        self.steps = tuple(steps)
        """The steps themselves."""
        self.spec: list[Any] = list(spec)
        """What preprocess.yaml holds."""

    @classmethod
    def parse(cls, text: str) -> "Preprocess":
        """Read the text of a preprocess.yaml."""
        try:
            return cls(yaml.safe_load(text) or [])
        except yaml.YAMLError as error:
            raise InvalidError(f"preprocess.yaml is no YAML: {error}", field="preprocess") from error

    @classmethod
    def load(cls, path: Path) -> "Preprocess":
        """Read a preprocess.yaml."""
        return cls.parse(path.read_text())

    def dump(self) -> str:
        """Return the text of preprocess.yaml."""
        return yaml.safe_dump(self.spec, sort_keys=False)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one sample's result, without the batch; None where it depends on the sample."""
        return getattr(self.steps[0], "shape", None) or None

    def one(self, raw: Any, name: str = "the sample") -> NDArray[np.float32]:  # noqa: ANN401 - bytes or an array
        """Return one sample as FP32, without a batch dimension. Raises InvalidError naming the sample."""
        return self.finish(self.decode(raw, name), name)

    def decode(self, raw: Any, name: str = "the sample") -> NDArray[Any]:  # noqa: ANN401 - bytes or an array
        """Run the first step alone: the compact form (bytes for pictures) that a trainer may keep in memory."""
        return _run(self.steps[:1], raw, name)

    def finish(self, decoded: NDArray[Any], name: str = "the batch") -> NDArray[np.float32]:
        """Run the other steps on decoded values, a sample or a batch of them, and return FP32."""
        return np.ascontiguousarray(_run(self.steps[1:], decoded, name), dtype=np.float32)

    def batch(self, raws: Sequence[Any], names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Return the samples as one FP32 array of shape (samples, ...), NCHW for pictures.

        Raises:
            InvalidError: with a violation for each sample that cannot be read, by its name or `samples[i]`.
        """
        if not raws:
            raise InvalidError("no samples were given; give at least one", field="samples")
        decoded: list[NDArray[Any]] = []
        faults: list[Violation] = []
        for index, raw in enumerate(raws):
            name = names[index] if names else f"samples[{index}]"
            try:
                decoded.append(self.decode(raw, name))
            except InvalidError as error:
                faults += error.violations
        if faults:
            raise InvalidError("; ".join(fault.message for fault in faults), violations=faults)
        if len({array.shape for array in decoded}) > 1:
            raise InvalidError(
                f"samples have different shapes {sorted({array.shape for array in decoded})}", field="samples"
            )
        return self.finish(np.stack(decoded))


def _run(steps: Sequence[Step], value: Any, name: str) -> NDArray[Any]:  # noqa: ANN401 - bytes or an array
    try:
        for step in steps:
            value = step(value)
    except InvalidError as error:
        raise InvalidError(f"{name}: {error.message}", field=name) from error
    found: NDArray[Any] = value
    return found


def _build(item: Any, where: str) -> Step:  # noqa: ANN401 - any YAML value
    name, options = (item, {}) if isinstance(item, str) else _only_pair(item, where)
    kind = step_class(name, where)
    if not isinstance(options, dict):
        raise InvalidError(f"{where}: the options of {name} must be a mapping, got {options!r}", field=where)
    _check_keys(kind, name, options, where)
    try:
        built: Step = msgspec.convert(options, kind)
    except (msgspec.ValidationError, InvalidError) as error:
        raise InvalidError(f"{where}: {name}: {error}", field=f"{where}.{name}") from error
    return built


def _only_pair(item: Any, where: str) -> tuple[str, Any]:  # noqa: ANN401 - any YAML value
    if not isinstance(item, dict) or len(item) != 1 or not isinstance(next(iter(item)), str):
        raise InvalidError(f"{where}: a step is a name, or one name with its options; got {item!r}", field=where)
    name, options = next(iter(item.items()))
    return name, options or {}


def _check_keys(kind: type, name: str, options: dict[Any, Any], where: str) -> None:
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]  # steps are dataclasses
    for key in options:
        if key not in known:
            raise InvalidError(
                f"{where}: {name} has no option {key!r}; options are {', '.join(known)}{nearest(str(key), known)}",
                field=f"{where}.{name}",
            )

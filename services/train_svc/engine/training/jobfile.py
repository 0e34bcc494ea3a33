"""A training as a YAML file: `data`, `train`, `folder` and, for `modelwright train search`, `search`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from services.common.errors import InvalidError, Violation
from services.train_svc.engine.reading import fault, invalid, read
from services.train_svc.engine.search.spec import SearchSpec
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.jobyaml import load_mapping
from services.train_svc.engine.training.settings import model_settings, spec_of

DATASET = re.compile(r"[A-Za-z0-9][\w.-]*[@:]\d+|sha256:[0-9a-f]{64}")
MODEL = "model"
YAML_SUFFIXES = (".yaml", ".yml")
Change = tuple[str, Any]
"""Path of a setting of `train`, such as `optimizer.lr`, and its value."""


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """Where the data is; one of both is set."""

    folder: str = ""
    """A folder of pictures or of speech."""
    dataset: str = ""
    """A dataset version of the platform: `digits@3`, or its digest."""

    @classmethod
    def from_data(cls, value: object, path: str, found: list[Violation]) -> "DataRef | None":
        """Return the reference that a path, `NAME@VERSION` or a mapping gives, or note in `found` why there is none."""
        if isinstance(value, str) and value:
            return cls(dataset=value) if DATASET.fullmatch(value) else cls(folder=value)
        keys = set(value) if isinstance(value, Mapping) else set()
        if isinstance(value, Mapping) and len(keys) == 1 and keys <= {"folder", "dataset"}:
            key, named = next(iter(value.items()))
            if isinstance(named, str) and named:
                return cls(**{key: named})
        message = (
            f"got {value!r}, wanted the path of a folder, {{folder: PATH}}, NAME@VERSION or {{dataset: NAME@VERSION}}"
        )
        found.append(Violation(field=path, message=message))
        return None

    def to_data(self) -> dict[str, str]:
        """Return it as plain data."""
        return {"dataset": self.dataset} if self.dataset else {"folder": self.folder}


@dataclass(frozen=True, kw_only=True)
class _Sections:
    data: DataRef
    train: dict[str, Any] = field(default_factory=dict)
    folder: str = ""
    search: SearchSpec | None = None


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """A training, or a search over trainings, as it stands in a file. It can be pickled."""

    path: Path
    """The file."""
    data: DataRef
    """What is learnt from; a folder's path is absolute."""
    settings: dict[str, Any]
    """The section `train` as plain data, paths absolute."""
    train: TrainSpec
    """The same, read."""
    folder: Path
    """Where the run is kept; absolute."""
    search: SearchSpec | None = None
    """How hyper-parameters are searched; None: they are not."""


def read_jobfile(path: str | Path, changes: Sequence[Change] = (), *, folder: str | Path | None = None) -> JobFile:
    """Return what a file holds.

    Args:
        path: the file. Paths in it are relative to its folder.
        changes: settings of `train` that replace those of the file.
        folder: where the run is kept, instead of the file's `folder`; none there either: `runs/<name of the file>`.

    Raises:
        InvalidError: all faults at once, each with its path such as `train.epochs` and the nearest known name.
    """
    path = Path(path).absolute()
    given = load_mapping(path)
    found: list[Violation] = []
    sections = _collected(found, lambda: read(_Sections, given, ""))
    section = given.get("train")
    settings = _relative_to(path.parent, dict(section) if isinstance(section, Mapping) else {})
    settings = _collected(found, lambda: reduce(lambda so_far, change: changed(so_far, *change), changes, settings))
    spec = _collected(found, lambda: train_spec(settings)) if settings is not None else None
    if sections is not None and sections.search is not None and spec is not None:
        found += faults_of_search(sections.search, settings)
    if found or sections is None or spec is None:
        raise invalid(found)
    where = Path(folder).absolute() if folder else path.parent / (sections.folder or f"runs/{path.stem}")
    data = sections.data if sections.data.dataset else DataRef(folder=str(path.parent / sections.data.folder))
    return JobFile(path=path, data=data, settings=settings, train=spec, folder=where, search=sections.search)


def train_spec(settings: Mapping[str, Any]) -> TrainSpec:
    """Return the spec of the settings of `train`; `model` may be the path of an `architecture.yaml`.

    Raises:
        InvalidError: all faults at once.
    """
    given = model_settings(settings[MODEL])[0] if isinstance(settings.get(MODEL), str) else {}
    return spec_of({**settings, **given})


def changed(settings: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - plain data
    """Return settings with one of them replaced.

    A name that stands for a mapping becomes one: `optimizer: lion` and a change of `optimizer.lr` give
    `{name: lion, lr: ...}`.

    Args:
        settings: stay as they are.
        path: such as `optimizer.lr`, `model.dropout` or `epochs`; `lr` stands for `optimizer.lr`.
        value: the new one.

    Raises:
        InvalidError: something on the path is no mapping.
    """
    keys = ("optimizer.lr" if path == "lr" else path).split(".")
    result = dict(settings)
    if path in ("lr", "optimizer.lr"):
        result.pop("lr", None)
    inner = result
    for place, key in enumerate(keys[:-1]):
        inner[key] = _as_mapping(inner.get(key, {}), key, f"train.{'.'.join(keys[: place + 1])}", is_first=place == 0)
        inner = inner[key]
    inner[keys[-1]] = value
    return result


def faults_of_search(search: SearchSpec, settings: Mapping[str, Any]) -> list[Violation]:
    """Return the faults of settings at the ends of what is searched, once each."""
    found: dict[str, Violation] = {}
    for name, parameter in search.parameters.items():
        for value in parameter.extremes:
            try:
                train_spec(changed(settings, name, value))
            except InvalidError as error:
                where = f"search.parameters.{name}"
                for each in error.violations:
                    found.setdefault(where, Violation(field=where, message=f"{value!r}: {each.field}: {each.message}"))
    return list(found.values())


def _as_mapping(value: Any, key: str, path: str, *, is_first: bool) -> dict[str, Any]:  # noqa: ANN401 - plain data
    if isinstance(value, Mapping):
        default = {"template": TrainSpec().model.template} if key == MODEL and is_first and not value else {}
        return default | dict(value)
    if isinstance(value, str) and is_first and Path(value).suffix not in YAML_SUFFIXES:
        return {"template" if key == MODEL else "name": value}
    raise fault(path, f"is {value!r}, which has no settings of its own to change")


def _relative_to(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    # Absolute, so that a run goes on from wherever it is called.
    model, precision = settings.get(MODEL), settings.get("precision")
    if isinstance(model, str) and Path(model).suffix in YAML_SUFFIXES:
        settings[MODEL] = str(folder / model)
    if isinstance(precision, Mapping) and isinstance(precision.get("policy"), str) and precision["policy"]:
        settings["precision"] = {**precision, "policy": str(folder / precision["policy"])}
    return settings


def _collected(found: list[Violation], read_it: Any) -> Any:  # noqa: ANN401 - what it returns
    try:
        return read_it()
    except InvalidError as error:
        found += error.violations or [Violation(field="", message=error.message)]
    return None

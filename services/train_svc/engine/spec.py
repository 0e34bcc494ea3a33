"""The training specification: the `train:` section of a lifecycle, checked once it exists. Loads no torch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.common.digest import digest_json
from services.common.errors import InvalidError, NotFoundError, Violation
from services.common.names import check_name
from services.train_svc.engine.architecture import Description, read_description
from services.train_svc.engine.reading import Checked, check, fault, join, read, setting
from services.train_svc.engine.templates import describe
from services.train_svc.engine.templates.registry import TEMPLATES, option_names, template_call

PICTURE_OPTIONS = ("in_channels", "image_height", "image_width")
"""Options that every template for pictures has."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(Checked):
    """What moves the weights."""

    name: Literal["adamw", "sgd"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), or SGD with Nesterov momentum."""
    lr: float = setting(3e-3, above=0, most=10)
    """Learning rate at the schedule's top."""
    weight_decay: float = setting(0.05, least=0, most=1)
    """Decoupled decay of matrices and kernels; vectors (biases, norms) are not decayed."""
    momentum: float = setting(0.9, least=0, below=1)
    """Of SGD; AdamW's first beta."""


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(Checked):
    """How the learning rate goes over the run."""

    name: Literal["cosine", "constant", "wsd"] = "cosine"
    """Cosine to the final share; constant; or warm-up, stable, linear decay (arXiv 2404.06395)."""
    warmup_epochs: float = setting(1.0, least=0)
    """Epochs of linear rise from zero; never more than half the run is used for it."""
    decay_fraction: float = setting(0.2, above=0, most=1)
    """Share of the run in which `wsd` decays."""
    final_fraction: float = setting(0.0, least=0, most=1)
    """Share of `lr` at the end."""


@dataclass(frozen=True, kw_only=True)
class AugmentSpec(Checked):
    """Random changes of training pictures, drawn anew for each. All zero: none."""

    shift_pixels: float = setting(0.75, least=0)
    """Largest shift along each axis."""
    rotate_degrees: float = setting(8.0, least=0, most=180)
    """Largest turn to either side."""
    scale: float = setting(0.1, least=0, below=1)
    """Largest share by which it grows or shrinks."""
    padding: Literal["zeros", "border"] = "zeros"
    """What comes in at the edges: black, or the nearest pixel."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model: a template with overrides, or a description written out."""

    template: str = ""
    """Name of a template; empty: `architecture` holds the model."""
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the template, and its `size`. Picture size and classes come from the dataset if not given."""
    architecture: Description | None = None
    """A description that was written out."""

    @classmethod
    def from_data(cls, value: object, path: str, found: list[Violation]) -> "ModelSpec | None":
        """Return the model that `resnet_small`, `{template: resnet_small, ...}` or a description names."""
        if isinstance(value, str):
            value = {"template": value}
        if not isinstance(value, Mapping):
            found.append(Violation(field=path, message=f"got {value!r}, wanted a template's name or a mapping"))
            return None
        try:
            return cls._read(dict(value), path)
        except InvalidError as error:
            found.extend(error.violations)
        return None

    @classmethod
    def _read(cls, value: dict[str, Any], path: str) -> "ModelSpec":
        if "body" in value and "template" not in value:
            return cls(architecture=read_description(value, path))
        name, options = template_call(value, path)
        if not takes_pictures(name):
            fitting = ", ".join(each for each in sorted(TEMPLATES) if takes_pictures(each))
            message = (
                f"{name} is no classifier of pictures, which is what training takes so far; wanted one of {fitting}"
            )
            raise fault(path, message)
        _describe(name, options, path)
        return cls(template=name, overrides=options)

    def describe(self, shape: tuple[int, ...] | None, classes: int, path: str = "train.model") -> Description:
        """Return the description for the pictures and classes of a dataset.

        Args:
            shape: [channels, height, width] that all pictures have; None: they differ, and the model must say.
            classes: how many classes there are.
            path: begins the field paths of errors.

        Raises:
            InvalidError: the model gives another number of classes, or says no picture size and there is none.
        """
        result = self.architecture or _describe(
            self.template, {**self._fitted(shape, classes, path), **self.overrides}, path
        )
        if result.output_shape != (classes,):
            message = (
                f"the model gives {list(result.output_shape)}, wanted [{classes}]: one score a class of the dataset"
            )
            raise fault(path, message)
        return result

    def _fitted(self, shape: tuple[int, ...] | None, classes: int, path: str) -> dict[str, Any]:
        if shape is not None:
            return {**dict(zip(PICTURE_OPTIONS, shape, strict=True)), "num_classes": classes}
        missing = [name for name in PICTURE_OPTIONS if name not in self.overrides]
        if missing:
            message = f"the dataset's pictures differ in size; give {', '.join(missing)}, and they are resized"
            raise fault(path, message)
        return {"num_classes": classes}

    def to_data(self) -> Any:  # noqa: ANN401 - plain data
        """Return it as it was given."""
        if self.architecture:
            return self.architecture.to_data()
        return {"template": self.template, **self.overrides} if self.overrides else self.template


def takes_pictures(name: str) -> bool:
    """Return whether a template makes classifiers of pictures."""
    return {*PICTURE_OPTIONS, "num_classes"} <= set(option_names(name))


def _describe(name: str, options: dict[str, Any], path: str) -> Description:
    options = dict(options)
    size = options.pop("size", "")
    try:
        return describe(name, size=str(size), path=path, **options)
    except NotFoundError as error:
        raise fault(join(path, "size"), error.message) from error


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Everything that decides a training run but the data."""

    model: ModelSpec = dataclasses.field(default_factory=lambda: ModelSpec(template="resnet_small"))
    """A template's name, a mapping with `template` and its overrides, or a description."""
    task: Literal["classification"] = "classification"
    """What is learnt: one label a picture."""
    epochs: int = setting(20, least=1, most=100_000)
    """Passes over the training split."""
    batch_size: int = setting(32, least=2, most=65536)
    """Samples a step; an epoch's last, smaller batch is left out, since every epoch is shuffled anew."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """What moves the weights."""
    schedule: ScheduleSpec = ScheduleSpec()
    """How the learning rate goes."""
    label_smoothing: float = setting(0.05, least=0, below=1)
    """Share of the target spread over all classes."""
    augment: AugmentSpec = AugmentSpec()
    """Random changes of the training pictures."""
    seed: int = setting(0, least=0, below=2**63)
    """Of weights, order and augmentation. Same seed, data, engine, threads, machine type: same curve, bit for bit."""
    engine: Literal["torch"] = "torch"
    """Who computes."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where; auto: the GPU if there is one."""
    threads: int = setting(0, least=0, most=1024)
    """CPU threads; 0: as many as the model is worth, the process may use, and 8 at most."""
    model_name: str = "model"
    """Name under which the trained version is registered."""
    checkpoint_every_s: float = setting(10.0, above=0)
    """Longest time between two checkpoints: what a crash may cost."""
    checkpoint_retry_s: float = setting(120.0, above=0)
    """How long the checkpoint storage may be away before the run fails."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        check(self, "train")
        check_name(self.model_name, "model_name")

    @classmethod
    def from_mapping(cls, value: object, path: str = "train") -> "TrainSpec":
        """Return the spec of plain data (the JSON or YAML of a `train:` section).

        Raises:
            InvalidError: all faults at once, each with its path such as `train.epochs`.
        """
        return read(cls, value, path)

    def to_data(self) -> dict[str, Any]:
        """Return the spec as plain data, every default written out."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: _plain(value) for key, value in data.items()}

    @property
    def digest(self) -> str:
        """Name of everything that shapes the curve: a checkpoint of one spec is not resumed by another."""
        names = {"device", "threads", "model_name", "checkpoint_every_s", "checkpoint_retry_s"}
        return digest_json({key: value for key, value in self.to_data().items() if key not in names})


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, ModelSpec):
        return value.to_data()
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value

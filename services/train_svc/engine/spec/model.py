"""Which model a run trains."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.common.errors import InvalidError, NotFoundError, Violation
from services.train_svc.engine.architecture import Description, read_description
from services.train_svc.engine.reading import fault, join
from services.train_svc.engine.templates import describe
from services.train_svc.engine.templates.registry import TEMPLATES, option_names, template_call

PICTURE_OPTIONS = ("in_channels", "image_height", "image_width")
"""Options that every template for pictures has."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model: a template with overrides, or a description written out."""

    template: str = ""
    """Name of a template; empty: `architecture` holds the model."""
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the template, and its `size`. Picture size and classes come from the dataset if not given."""
    architecture: Description | None = None
    """A description that was written out."""
    own: str = ""
    """Class of a user's own model, which no description stands for."""

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
        _describe(name, options, path)
        return cls(template=name, overrides=options)

    def written(self, path: str = "train.model") -> Description:
        """Return the description as it is given, fitted to no data."""
        return self.architecture or _describe(self.template, self.overrides, path)

    def describe_for_text(self, tokens: int, path: str = "train.model") -> Description:
        """Return the description for a vocabulary of `tokens`, unless the model gives its own `vocab_size`."""
        if self.architecture:
            return self.architecture
        known, options = option_names(self.template), dict(self.overrides)
        if "vocab_size" in known:
            options.setdefault("vocab_size", tokens)
        elif "decoder" in known:
            options["decoder"] = {"vocab_size": tokens, **dict(options.get("decoder") or {})}
        return _describe(self.template, options, path)

    def check_pictures(self, path: str = "train.model") -> None:
        """Check that a template makes classifiers of pictures.

        Raises:
            InvalidError: it does not; those that do are named.
        """
        if self.template and not takes_pictures(self.template):
            fitting = ", ".join(each for each in sorted(TEMPLATES) if takes_pictures(each))
            raise fault(path, f"{self.template} is no classifier of pictures, which the data are; use one of {fitting}")

    def describe(self, shape: tuple[int, ...] | None, classes: int, path: str = "train.model") -> Description:
        """Return the description for the pictures and classes of a dataset.

        Args:
            shape: [channels, height, width] that all pictures have; None: they differ, and the model must say.
            classes: how many classes there are.
            path: begins the field paths of errors.

        Raises:
            InvalidError: the model gives another number of classes, or says no picture size and there is none.
        """
        self.check_pictures(path)
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
        if self.own:
            return {"own": self.own}
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

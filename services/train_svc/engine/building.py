"""One door to the builders, and to weights on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from services.train_svc.engine.architecture import Description, from_yaml
from services.train_svc.engine.reading import fault

if TYPE_CHECKING:
    from torch import nn

Source = Description | str | Path


def as_description(source: Source) -> Description:
    """Return a description, or read that of an `architecture.yaml`."""
    if isinstance(source, Description):
        return source
    path = Path(source)
    if not path.is_file():
        raise fault("source", f"there is no file {str(source)!r}; give a description, or the path of a YAML file")
    return from_yaml(path)


def build(source: Source, *, engine: Literal["torch"] = "torch", device: str = "cpu") -> "nn.Module":
    """Return the model of a description or of its YAML file.

    Args:
        source: the description, or the path of an `architecture.yaml`.
        engine: who runs it; "torch" gives a plain `torch.nn.Module`.
        device: where its parameters live; "meta" allocates nothing.

    Raises:
        InvalidError: the file or the engine is unknown, or the description is wrong.
    """
    if engine != "torch":
        raise fault("engine", f"got {engine!r}, wanted 'torch'")
    from services.train_svc.engine.torch_builder import build_torch  # noqa: PLC0415 - torch loads once asked for

    return build_torch(as_description(source), device)

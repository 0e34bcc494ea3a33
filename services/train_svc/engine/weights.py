"""Weights on disk: named tensors in safetensors, in the canonical layout, for models of either engine."""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from services.train_svc.engine.engines import engine_of
from services.train_svc.engine.keymap import translate
from services.train_svc.engine.templates import template

M = TypeVar("M")
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"


def save_weights(model: Any, path: str | Path) -> None:  # noqa: ANN401 - a model of either engine
    """Write the weights of a model that `build` made as safetensors; either engine reads them."""
    tensors = engine_of(model).tensors
    tensors.write_tensors(tensors.named_tensors(model), Path(path))


def load_weights(model: M, path: str | Path, *, source: Literal["modelwright", "huggingface"] = "modelwright") -> M:
    """Fill the model with the weights of a file and return it.

    Args:
        model: what `build` made, on either engine.
        path: safetensors; for "huggingface" also a folder with `model.safetensors` or its shards and their index.
        source: whose names the tensors have. Hugging Face's are translated by the key map of the model's template.

    Raises:
        InvalidError: the file is not readable; or a tensor is missing, unknown, or has another shape; each is named.
        NotFoundError: the model is not of a template that has a key map.
    """
    tensors = engine_of(model).tensors
    if source == "huggingface":
        name = model.description.name  # type: ignore[attr-defined]  # what `build` made has one
        given = {key: value for file in _files(Path(path)) for key, value in tensors.read_tensors(file).items()}
        read = translate(given, template(name).huggingface, tensors.shapes(model), name)
    else:
        read = tensors.read_tensors(Path(path))
    tensors.fill(model, read, str(path))
    return model


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / INDEX).is_file():
        names = json.loads((path / INDEX).read_text("utf-8"))["weight_map"].values()
        return [path / name for name in sorted(set(names))]
    return [path / ONE_FILE]

"""Where a model comes from: our package folder, a bare `model.onnx`, or `name/1/model.onnx`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common.digest import digest_file, digest_json
from services.common.errors import InvalidError, NotFoundError
from services.serve_svc.engine.signature import Signature, read_signature

MODEL = "model.onnx"
SIGNATURE = "signature.json"
GOLDEN = "golden.npz"
PREPROCESS = "preprocess.yaml"
LABELS = "labels.json"
CARD = "card.json"
SERVED_FILES = (MODEL, SIGNATURE, GOLDEN, PREPROCESS, LABELS, CARD)
"""Files of a package that serving reads; weights for training are not among them."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """The files of one model version on this machine; all but the graph may be absent."""

    model: Path
    signature: Signature | None = None
    golden: Path | None = None
    preprocess: Path | None = None
    labels: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)


def open_package(folder: Path) -> Package:
    """Return the package in `folder`.

    Raises:
        NotFoundError: it holds no model.onnx.
        InvalidError: one of its files is damaged.
    """
    model = folder / MODEL
    if not model.is_file():
        raise NotFoundError(f"{folder} holds no {MODEL}; a model folder is a package or holds that file")
    signature = folder / SIGNATURE
    return Package(
        model=model,
        signature=read_signature(signature.read_bytes(), SIGNATURE) if signature.is_file() else None,
        golden=_present(folder / GOLDEN),
        preprocess=_present(folder / PREPROCESS),
        labels=_labels(folder / LABELS),
        card=_json(folder / CARD) if (folder / CARD).is_file() else {},
    )


def version_folder(folder: Path) -> tuple[Path, str]:
    """Return the folder of the highest version under a model's folder, and its number.

    A folder that holds the files itself is version 1.
    """
    if (folder / MODEL).is_file():
        return folder, "1"
    numbers = [int(p.name) for p in folder.iterdir() if p.name.isdecimal() and (p / MODEL).is_file()]
    if not numbers:
        raise NotFoundError(f"{folder} holds neither {MODEL} nor a version folder such as 1/{MODEL}")
    return folder / str(max(numbers)), str(max(numbers))


def folder_digest(folder: Path) -> str:
    """Return the digest of the package in `folder`, as the registry names it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_json({path.relative_to(folder).as_posix(): digest_file(path) for path in files})


def _present(path: Path) -> Path | None:
    return path if path.is_file() else None


def _labels(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    data = _json(path)
    if not isinstance(data, list):
        raise InvalidError(f"{path.name} must be a list of names, one a class", field=path.name)
    return tuple(str(label) for label in data)


def _json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidError(f"{path.name} is no JSON: {error}", field=path.name) from error

"""Writing a model package, and moving it to and from the blob store."""

import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from services.common.errors import ConflictError, InvalidError
from services.common.packages import files as names
from services.common.packages.card import Card
from services.common.packages.files import PackageFile, check_paths, missing_files
from services.common.packages.golden import Golden
from services.common.packages.package import Package, encode_json, model_size, read_package
from services.common.packages.signature import Signature
from services.common.storage import BlobStore


class Fetcher(Protocol):
    """Where the files of a package come from: a `BlobStore` or a `BlobCache`."""

    def fetch(self, digest: str, target: Path) -> Path:
        """Write the verified bytes to `target`, whole or not at all."""
        ...


def write_package(
    folder: Path,
    *,
    model: bytes | Path,
    signature: Signature,
    golden: Golden,
    preprocess: Sequence[Any],
    labels: Sequence[str],
    card: Card,
    weights: bytes | Path | None = None,
    architecture: dict[str, Any] | str | None = None,
) -> Package:
    """Write the package into `folder`, which must not exist or be empty, and return it as read back.

    `preprocess` is the list of steps of preprocess.yaml. `card.size_bytes` is set to that of the model. A model given
    as a path brings the tensors that lie beside it in `<path>.data`.
    A package that is not valid, or a failure on the way, leaves nothing behind.
    """
    _refuse_full(folder)
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    aside.mkdir(parents=True)
    try:
        sized = msgspec.structs.replace(card, size_bytes=_write_model(aside, model))
        (aside / names.SIGNATURE).write_bytes(encode_json(signature))
        (aside / names.CARD).write_bytes(encode_json(sized))
        (aside / names.LABELS).write_bytes(encode_json(list(labels)))
        (aside / names.PREPROCESS).write_text(yaml.safe_dump(list(preprocess), sort_keys=False))
        golden.save(aside / names.GOLDEN)
        if weights is not None:
            _write_bytes(aside / names.WEIGHTS, weights)
        if architecture is not None:
            text = architecture if isinstance(architecture, str) else yaml.safe_dump(architecture, sort_keys=False)
            (aside / names.ARCHITECTURE).write_text(text)
        read_package(aside)
        _rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return read_package(folder)


def upload_package(folder: Path, blobs: BlobStore) -> list[PackageFile]:
    """Validate the package, keep its files as blobs, and return them by path."""
    read_package(folder)
    paths = sorted(folder.iterdir())
    return [PackageFile(path=path.name, digest=blobs.put_file(path), size=path.stat().st_size) for path in paths]


def download_package(files: Iterable[PackageFile], folder: Path, source: Fetcher) -> Path:
    """Fetch the files into `folder`, whole or not at all, and return it; one that is there already stays.

    The bytes are verified against their digests. `read_package` then validates what they say.
    """
    wanted = list(files)
    check_paths(file.path for file in wanted)
    missing = missing_files(file.path for file in wanted)
    if missing:
        raise InvalidError(f"the model package lacks {', '.join(missing)}", field="files")
    if folder.is_dir() and {path.name for path in folder.iterdir()} == {file.path for file in wanted}:
        return folder
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        for file in wanted:
            source.fetch(file.digest, aside / file.path)
        _rename(aside, folder)
    except ConflictError:  # Another thread or process was faster; the files are the same.
        return folder
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _refuse_full(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} is not empty; write the package into a new folder")


def _rename(aside: Path, folder: Path) -> None:
    try:
        os.rename(aside, folder)
    except OSError as error:
        _refuse_full(folder)
        raise ConflictError(f"{folder} cannot be made: {error.strerror}") from error


def _write_model(folder: Path, model: bytes | Path) -> int:
    _write_bytes(folder / names.MODEL, model)
    if isinstance(model, Path) and (beside := model.with_name(model.name + ".data")).exists():
        # The graph refers to its tensors by the name of that file.
        _write_bytes(folder / beside.name, beside)
    return model_size(folder / names.MODEL)


def _write_bytes(path: Path, source: bytes | Path) -> None:
    if isinstance(source, Path):
        shutil.copyfile(source, path)
    else:
        path.write_bytes(source)

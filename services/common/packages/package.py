"""Reading a model package from its folder, every file validated."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from services.common.errors import InvalidError, NotFoundError, Violation
from services.common.packages import files as names
from services.common.packages.card import Card
from services.common.packages.golden import Golden
from services.common.packages.signature import Signature
from services.common.preprocess import Preprocess

Read = TypeVar("Read")
_HEADER = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True)
class Package:
    """A valid package on the local disk."""

    folder: Path
    """Where its files are."""
    signature: Signature
    """What the model takes and gives."""
    card: Card
    """Where it came from and what was measured."""
    golden: Golden
    """Recorded inputs and outputs."""
    preprocess: Preprocess
    """Raw bytes to the first input."""
    labels: tuple[str, ...]
    """Class names by index; empty where the model has no classes."""

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / names.MODEL

    @property
    def weights(self) -> Path | None:
        """The safetensors file, if the package has one."""
        return _present(self.folder / names.WEIGHTS)

    @property
    def architecture(self) -> Path | None:
        """The architecture description, if the package has one."""
        return _present(self.folder / names.ARCHITECTURE)


def read_package(folder: Path) -> Package:
    """Return the package in `folder`.

    Raises:
        NotFoundError: there is no such folder.
        InvalidError: files are missing, unknown, damaged or at odds; all faults are told together.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no model package in {folder}")
    faults = _Faults()
    present = [path.name for path in folder.iterdir()]
    faults.collect("files", lambda: names.check_paths(present))
    for name in names.missing_files(present):
        faults.add(name, "is missing")
    signature = faults.collect(names.SIGNATURE, lambda: read_signature(folder))
    card = faults.collect(names.CARD, lambda: read_card(folder))
    golden = faults.collect(names.GOLDEN, lambda: Golden.load(folder / names.GOLDEN))
    preprocess = faults.collect(names.PREPROCESS, lambda: Preprocess.load(folder / names.PREPROCESS))
    labels = faults.collect(names.LABELS, lambda: read_labels(folder))
    faults.collect(names.WEIGHTS, lambda: _check_weights(folder / names.WEIGHTS))
    faults.collect(names.ARCHITECTURE, lambda: _check_architecture(folder / names.ARCHITECTURE))
    if signature and golden:
        faults.collect(names.GOLDEN, lambda: golden.check(signature))
    if card:
        faults.collect(names.MODEL, lambda: _check_size(folder / names.MODEL, card))
    faults.raise_any(folder)
    if signature is None or card is None or golden is None or preprocess is None or labels is None:
        raise InvalidError(f"the model package in {folder} cannot be read")
    return Package(folder=folder, signature=signature, card=card, golden=golden, preprocess=preprocess, labels=labels)


def read_signature(folder: Path) -> Signature:
    """Return signature.json of the package."""
    return decode_json((folder / names.SIGNATURE).read_bytes(), Signature)


def read_card(folder: Path) -> Card:
    """Return card.json of the package."""
    return decode_json((folder / names.CARD).read_bytes(), Card)


def read_labels(folder: Path) -> tuple[str, ...]:
    """Return labels.json of the package."""
    return decode_json((folder / names.LABELS).read_bytes(), tuple[str, ...])


def decode_json(data: bytes | str, form: type[Read]) -> Read:
    """Return JSON as `form` (Card, Signature, ...), or raise InvalidError saying where it differs."""
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InvalidError(f"not valid: {error}") from error


class _Faults:
    """Faults of several files, told together."""

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def add(self, name: str, message: str) -> None:
        self.found.append(Violation(field=name, message=f"{name}: {message}"))

    def collect(self, name: str, read: Callable[[], Read]) -> Read | None:
        """Return what `read` gives; a missing file has been told already."""
        try:
            return read()
        except InvalidError as error:
            self.add(name, error.message)
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as error:
            self.add(name, f"cannot be read: {error}")
        return None

    def raise_any(self, folder: Path) -> None:
        if self.found:
            told = "; ".join(fault.message for fault in self.found)
            raise InvalidError(f"the model package in {folder} is not valid: {told}", violations=self.found)


def _present(path: Path) -> Path | None:
    return path if path.is_file() else None


def model_size(path: Path) -> int:
    """Return the bytes of a model.onnx and of the tensors beside it."""
    beside = _present(path.with_name(names.MODEL_DATA))
    return path.stat().st_size + (beside.stat().st_size if beside else 0)


def _check_size(path: Path, card: Card) -> None:
    size = model_size(path)
    if size == 0 or size != card.size_bytes:
        raise InvalidError(f"has {size} bytes, card.json says size_bytes {card.size_bytes}")


def _check_weights(path: Path) -> None:
    """Look at the safetensors header: its length, then that much JSON."""
    with path.open("rb") as file:
        start = file.read(_HEADER.size)
        (length,) = _HEADER.unpack(start) if len(start) == _HEADER.size else (0,)
        if not len("{}") <= length <= path.stat().st_size - _HEADER.size:
            raise InvalidError("is no safetensors file: its header does not fit")
        header: Any = decode_json(file.read(length), dict[str, Any])
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if path.stat().st_size != _HEADER.size + length + max(ends, default=0):
        raise InvalidError("is truncated, or longer than its header says")


def _check_architecture(path: Path) -> None:
    try:
        if not yaml.safe_load(path.read_text()):
            raise InvalidError("is empty")
    except yaml.YAMLError as error:
        raise InvalidError(f"is no YAML: {error}") from error


def encode_json(value: Any) -> bytes:  # noqa: ANN401 - any struct or JSON value
    """Return indented JSON with a final newline."""
    return (json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False) + "\n").encode()

"""What a run leaves on disk until the server has it."""

import os
from pathlib import Path
from typing import Any

import msgspec

from services.common.errors import NotFoundError


class Started(msgspec.Struct, tag="start", kw_only=True, frozen=True):
    """The run exists."""

    run: str


class Logged(msgspec.Struct, tag="log", kw_only=True, frozen=True, omit_defaults=True):
    """Metric values at one step and moment (seconds since 1970), parameters, tags."""

    run: str
    time: float = 0.0
    step: int = 0
    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class Kept(msgspec.Struct, tag="file", kw_only=True, frozen=True):
    """A copy of a file, to be kept with the run under `path` and then removed."""

    run: str
    copy: str
    path: str


class Packaged(msgspec.Struct, tag="model", kw_only=True, frozen=True):
    """A copy of a model package, to be registered under `name` and then removed."""

    run: str
    copy: str
    name: str
    variant: str = "trained"
    dataset_digest: str = ""


class Ended(msgspec.Struct, tag="end", kw_only=True, frozen=True):
    """The run ended."""

    run: str
    state: str
    error: str = ""


class Marker(msgspec.Struct, tag="mark", kw_only=True, frozen=True):
    """Means nothing; that it is through tells that everything before it is."""

    run: str = ""


Entry = Marker | Started | Logged | Kept | Packaged | Ended
encode = msgspec.msgpack.Encoder().encode
"""MessagePack: unlike JSON it carries NaN and infinities."""
decode = msgspec.msgpack.Decoder(Entry).decode


class RunFile(msgspec.Struct, kw_only=True):
    """A run as its program opened it; `run_id` is set once the server knows the run.

    `key` is the idempotency key under which it is created: creating it again,
    from whichever process, gives the same run.
    """

    key: str
    name: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    dataset_digest: str = ""
    code_version: str = ""
    environment: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    run_id: str = ""


def write_run(folder: Path, run: RunFile) -> None:
    """Keep `run` in `folder`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{run.key}.{os.getpid()}"
    part.write_bytes(msgspec.json.encode(run))
    os.replace(part, folder / f"{run.key}.json")


def read_run(folder: Path, key: str) -> RunFile:
    """Return the run that was kept under `key`.

    Raises:
        NotFoundError: its file is gone.
    """
    try:
        return msgspec.json.decode((folder / f"{key}.json").read_bytes(), type=RunFile)
    except FileNotFoundError as error:
        raise NotFoundError(f"the file of run {key} is gone from {folder}; its records cannot be sent") from error

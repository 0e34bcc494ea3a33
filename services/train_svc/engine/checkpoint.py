"""Checkpoints: a folder with `state.safetensors` and `checkpoint.json`, there as a whole or not at all."""

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from services.common.digest import digest_file
from services.common.errors import InvalidError
from services.train_svc.engine.on_torch.tensors import read_tensors, write_tensors
from services.train_svc.engine.reading import read

STATE_FILE = "state.safetensors"
NOTE_FILE = "checkpoint.json"
KEPT = 2
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a checkpoint says of itself, in `checkpoint.json`."""

    format: int
    """Version of this form."""
    step: int
    """Steps made. Schedule, order and every random draw follow from it and the seed."""
    steps_per_epoch: int
    """Steps in an epoch, which the data must still give."""
    spec_digest: str
    """Digest of the spec that it belongs to."""
    dataset_digest: str
    """Digest of the data that it belongs to; may be empty."""
    torch_version: str
    """For people who look for the reason of a difference."""
    state_digest: str
    """Digest of `state.safetensors`."""


@dataclass(frozen=True, kw_only=True)
class State:
    """All that a run needs to go on as if it had not stopped."""

    model: dict[str, torch.Tensor]
    """Parameters and buffers by name."""
    optimizer: dict[str, torch.Tensor]
    """Moments by `<parameter>/<slot>`."""
    step: int
    """Steps made."""
    steps_per_epoch: int
    """Steps in an epoch."""
    spec_digest: str
    """Digest of the spec."""
    dataset_digest: str
    """Digest of the data."""


def write_checkpoint(root: Path, state: State) -> Path:
    """Write the checkpoint under `root` and return its folder; older ones but the last few are dropped."""
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"step-{state.step:012d}"
    partial = root / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    model = {f"model/{name}": tensor for name, tensor in state.model.items()}
    moments = {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    write_tensors({**model, **moments}, partial / STATE_FILE)
    note = Note(
        format=FORMAT,
        step=state.step,
        steps_per_epoch=state.steps_per_epoch,
        spec_digest=state.spec_digest,
        dataset_digest=state.dataset_digest,
        torch_version=torch.__version__,
        state_digest=digest_file(partial / STATE_FILE),
    )
    (partial / NOTE_FILE).write_text(json.dumps(dataclasses.asdict(note), indent=2), "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for old in list_checkpoints(root)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def list_checkpoints(root: Path) -> list[Path]:
    """Return the folders of whole checkpoints under `root`, oldest first."""
    return sorted(root.glob("step-*"))


def read_checkpoint(folder: Path) -> State:
    """Return the state that a folder holds.

    Raises:
        InvalidError: a file is missing or damaged.
    """
    try:
        note = read(Note, json.loads((folder / NOTE_FILE).read_text("utf-8")), NOTE_FILE)
        found = digest_file(folder / STATE_FILE)
    except (OSError, ValueError) as error:
        raise InvalidError(f"the checkpoint {folder.name} cannot be read: {error}", field="checkpoint") from error
    if found != note.state_digest:
        message = (
            f"the checkpoint {folder.name} is damaged: its tensors have digest {found}, wanted {note.state_digest}"
        )
        raise InvalidError(message, field="checkpoint")
    tensors = read_tensors(folder / STATE_FILE)
    return State(
        model=_part(tensors, "model/"),
        optimizer=_part(tensors, "optimizer/"),
        step=note.step,
        steps_per_epoch=note.steps_per_epoch,
        spec_digest=note.spec_digest,
        dataset_digest=note.dataset_digest,
    )


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

"""A checkpoint on the disk: a folder with `state.safetensors` and `checkpoint.json`, there as a whole or not at all."""

import dataclasses
import json
import logging
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.digest import digest_file
from services.common.errors import InvalidError
from services.train_svc.engine.checkpointing.dtypes import Array
from services.train_svc.engine.checkpointing.note import FORMAT, NOTE_FILE, Note, read_note
from services.train_svc.engine.checkpointing.placing import drop, placed_whole, told_of_room
from services.train_svc.engine.checkpointing.retention import Best, kept_steps
from services.train_svc.engine.checkpointing.statefile import read_state, state_bytes, write_state

LOG = logging.getLogger("modelwright.train")

STATE_FILE = "state.safetensors"
NAME = re.compile(r"step-(\d+)")


class FormatError(InvalidError):
    """A checkpoint of another version of this software: whole, perhaps, but not to be read here."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a run needs to go on as if it had not stopped."""

    note: Note
    """Where it stood."""
    tensors: dict[str, Array]
    """By name, in the canonical layout; see `Snapshot.tensors`. Formats that NumPy lacks: see `dtypes`."""


def write_checkpoint(
    root: Path,
    snapshot_tensors: Mapping[str, Array],
    note: Note,
    *,
    best: Best | None = None,
    spared: Collection[Path] = (),
) -> Path:
    """Write a checkpoint under `root`, drop those that need not be kept, and return its folder.

    Args:
        root: of one run.
        snapshot_tensors: see `Checkpoint.tensors`.
        note: its `state_digest` is filled in.
        best: which are kept beside the newest; None: no others.
        spared: folders that somebody still reads.

    Raises:
        StorageFullError: no room; the message says how much is needed. The earlier checkpoints are as they were.
        OSError: the disk failed otherwise; the same holds.
        InvalidError: an array has a number format that a checkpoint cannot hold.
    """
    folder = root / f"step-{note.step:012d}"
    with told_of_room(root, f"the checkpoint of step {note.step}", state_bytes(snapshot_tensors)):
        with placed_whole(folder) as partial:
            digest = write_state(partial / STATE_FILE, snapshot_tensors)
            _write_text(partial / NOTE_FILE, dataclasses.replace(note, state_digest=digest).to_json())
    _drop_old(root, best, {folder, *spared})
    return folder


def list_checkpoints(root: Path) -> list[Path]:
    """Return the folders of checkpoints under `root`, oldest first; none of them is half-written."""
    return sorted((folder for folder in root.glob("step-*") if NAME.fullmatch(folder.name)), key=_step_of)


def list_notes(root: Path) -> list[Note]:
    """Return what the checkpoints under `root` say of themselves, oldest first; unreadable ones are left out."""
    found = []
    for folder in list_checkpoints(root):
        try:
            found.append(_note_of(folder))
        except (OSError, ValueError, InvalidError):
            continue
    return found


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return what a folder holds, checked against its digest.

    Raises:
        FormatError: another version of this software wrote it.
        InvalidError: a file is missing or damaged; the message names an older checkpoint that is whole.
    """
    try:
        note = _note_of(folder)
        tensors, digest = read_state(folder / STATE_FILE)
        _check_digest(digest, note)
    except FormatError:
        raise
    except (OSError, ValueError, InvalidError) as error:
        message = f"the checkpoint {folder.name} is damaged or incomplete: {error}; {_way_out(folder)}"
        raise InvalidError(message, field="checkpoint") from error
    return Checkpoint(note=note, tensors=tensors)


def newest_whole(root: Path, *, before_step: int | None = None) -> Path | None:
    """Return the newest checkpoint under `root` whose bytes have their digest; None: there is none.

    Args:
        root: of one run.
        before_step: only older ones than this are looked at; None: all.
    """
    for folder in reversed(list_checkpoints(root)):
        if (before_step is None or _step_of(folder) < before_step) and _is_whole(folder):
            return folder
    return None


def read_newest(root: Path) -> Checkpoint | None:
    """Return the newest checkpoint under `root` that is whole, reading it once; None: there is none.

    Damaged ones are passed over with a warning.

    Raises:
        FormatError: another version of this software wrote it: passing over it would begin the run anew unasked.
    """
    for folder in reversed(list_checkpoints(root)):
        try:
            return read_checkpoint(folder)
        except FormatError:
            raise
        except InvalidError as error:
            LOG.warning("a checkpoint is passed over: %s", error)
    return None


def _step_of(folder: Path) -> int:
    match = NAME.fullmatch(folder.name)
    return int(match[1]) if match else 0


def _write_text(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _note_of(folder: Path) -> Note:
    data = json.loads((folder / NOTE_FILE).read_text("utf-8"))
    version = data.get("format") if isinstance(data, dict) else None
    if isinstance(version, int) and version != FORMAT:
        raise FormatError(_foreign(folder, version), field="checkpoint")
    return read_note(data)


def _foreign(folder: Path, version: int) -> str:
    cure = (
        "finish that run with the version of Modelwright that began it, or start a new run"
        if version < FORMAT
        else "a newer version of Modelwright wrote it; resume the run with that one, or start a new run"
    )
    return f"the checkpoint {folder.name} has format {version}, and this version reads format {FORMAT}: {cure}"


def _check_digest(found: str, note: Note) -> None:
    if found != note.state_digest:
        raise ValueError(f"its tensors have digest {found}, wanted {note.state_digest}")


def _is_whole(folder: Path) -> bool:
    try:
        note = _note_of(folder)
        _check_digest(digest_file(folder / STATE_FILE), note)
    except (OSError, ValueError, InvalidError):
        return False
    return True


def _way_out(folder: Path) -> str:
    older = newest_whole(folder.parent, before_step=_step_of(folder))
    return f"{older} is whole: resume from it" if older else "no older one beside it is whole: start the run anew"


def _drop_old(root: Path, best: Best | None, spared: Collection[Path]) -> None:
    notes = {}
    for folder in list_checkpoints(root):
        try:
            notes[folder] = _note_of(folder)
        except (OSError, ValueError, InvalidError):
            # Not ours to drop: of another version, or damaged and perhaps of use to somebody.
            continue
    kept = kept_steps(list(notes.values()), best)
    for folder, note in notes.items():
        if note.step not in kept and folder not in spared:
            drop(folder)

"""What a run's folder holds already, and whether it is gone on with."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from modelwright.cli.training_file import engine
from services.common.errors import InvalidError

if TYPE_CHECKING:
    from services.train_svc.engine.training.jobfile import JobFile

SPEC = "spec.json"
"""The spec of the run in the folder, so that it can be said what another one differs in."""


def prepare_folder(job: "JobFile", resume: bool | None) -> Path | None:
    """Make ready the folder of a run, and return where an earlier run in it was moved; None: there was none to move.

    Args:
        job: whose.
        resume: True: it must hold a checkpoint of the same spec; None: it may; False: whatever it holds is moved.

    Raises:
        InvalidError: the folder holds a run of another spec, or nothing to go on from.
    """
    notes = engine("checkpointing").list_notes(job.folder / engine("training.resuming").CHECKPOINTS)
    if resume and not notes:
        raise InvalidError(
            f"there is no checkpoint in {job.folder} to go on from; leave out --resume", field="--resume"
        )
    moved = set_aside(job.folder) if resume is False else None
    if notes and moved is None and notes[-1].spec_digest != job.train.digest:
        what = _differences(job) or "other settings"
        message = f"{job.folder} holds a run with another {what}; undo that, give another --folder, or --no-resume"
        raise InvalidError(f"{message}, which keeps that run beside this one", field="folder")
    if not notes:
        # Of a run that never came to a checkpoint: what it measured is measured again.
        (job.folder / engine("training.run").CURVE).unlink(missing_ok=True)
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / SPEC).write_text(json.dumps(job.train.to_data(), indent=2) + "\n", "utf-8")
    return moved


def set_aside(folder: Path) -> Path | None:
    """Rename a folder to the first free of `folder.1`, `folder.2` ..., and return that; None: nothing is in it."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    number = 1
    while (free := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return folder.rename(free)


def _differences(job: "JobFile") -> str:
    try:
        before = json.loads((job.folder / SPEC).read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    now = json.loads(json.dumps(job.train.to_data()))
    names = [f"train.{name}" for name in now if now[name] != before.get(name)]
    return ", ".join(names)

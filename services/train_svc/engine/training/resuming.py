"""Which checkpoint a run goes on from."""

import logging
from pathlib import Path

from services.train_svc.engine.checkpointing import list_checkpoints, newest_whole, read_checkpoint
from services.train_svc.engine.checkpointing.note import NOTE_FILE
from services.train_svc.engine.reading import fault

LOG = logging.getLogger("modelwright.train")
CHECKPOINTS = "checkpoints"


def to_resume(folder: Path, resume: bool | str | Path) -> Path | None:
    """Return the checkpoint to go on from; None: the run begins.

    Args:
        folder: of the run.
        resume: False: begin, in a folder that holds no run; True: the newest whole one in the folder, if there is one;
            else the folder of a checkpoint or of a run.

    Raises:
        InvalidError: the folder holds a run that would be mixed with this one, or there is nothing whole to go on from.
    """
    if not resume:
        _check_free(folder)
        return None
    if resume is True:
        return _newest(folder / CHECKPOINTS)
    given = Path(resume)
    if (given / NOTE_FILE).is_file():
        return given
    found = _newest(given / CHECKPOINTS) or _newest(given)
    if found is None:
        raise fault("resume", f"there is no checkpoint in {given}; give the folder of one, or of a run")
    return found


def _check_free(folder: Path) -> None:
    held = list_checkpoints(folder / CHECKPOINTS)
    if held:
        message = f"{folder} holds a run already, up to {held[-1].name}"
        raise fault("folder", f"{message}; go on with it by fit(resume=True), or give another folder to begin anew")


def _newest(root: Path) -> Path | None:
    held = list_checkpoints(root)
    if not held:
        return None
    found = newest_whole(root)
    if found is None:
        # It says what is wrong with it.
        read_checkpoint(held[-1])
    elif found != held[-1]:
        LOG.warning("the checkpoint %s is damaged; the run goes on from %s", held[-1].name, found.name)
    return found

"""Checkpoints of either engine: what one holds, how it is written beside training, which are kept, how one is read."""

from services.train_svc.engine.checkpointing.folder import (
    Checkpoint,
    FormatError,
    list_checkpoints,
    list_notes,
    newest_whole,
    read_checkpoint,
    read_newest,
    write_checkpoint,
)
from services.train_svc.engine.checkpointing.hostcopy import HostCopies, HostCopy
from services.train_svc.engine.checkpointing.note import Note
from services.train_svc.engine.checkpointing.relay import RetryPolicy
from services.train_svc.engine.checkpointing.retention import Best
from services.train_svc.engine.checkpointing.writer import CheckpointWriter

__all__ = [
    "Best",
    "Checkpoint",
    "CheckpointWriter",
    "FormatError",
    "HostCopies",
    "HostCopy",
    "Note",
    "RetryPolicy",
    "list_checkpoints",
    "list_notes",
    "newest_whole",
    "read_checkpoint",
    "read_newest",
    "write_checkpoint",
]

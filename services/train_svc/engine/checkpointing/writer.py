"""Writes checkpoints and hands them on while training goes on."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from services.common.errors import StorageFullError, UnavailableError
from services.train_svc.engine.checkpointing.folder import write_checkpoint
from services.train_svc.engine.checkpointing.note import Note
from services.train_svc.engine.checkpointing.relay import Relay, RetryPolicy
from services.train_svc.engine.checkpointing.retention import Best
from services.train_svc.engine.ports import CheckpointSink
from services.train_svc.engine.training.learner import Snapshot

CLOSING_S = 60.0
"""How long the end waits for the disk, so that what is half written becomes whole."""


@dataclass(frozen=True)
class _Taken:
    snapshot: Snapshot
    note: Note

    @property
    def step(self) -> int:
        return self.note.step


@dataclass(frozen=True)
class _Written:
    folder: Path
    step: int


class CheckpointWriter:
    """Takes snapshots, writes each as a folder under `root`, and then has `sink` keep the folder. A context manager.

    One thread writes, another hands on: a storage that is slow or away does not keep the disk from having the newest
    state. Beside the snapshot that is being written at most one more waits; a newer one replaces it.

    Args:
        root: of one run.
        sink: keeps the folders.
        policy: how the disk and the sink are tried again.
        best: which checkpoints are kept on the disk beside the newest; None: no others.
    """

    def __init__(self, root: Path, sink: CheckpointSink, policy: RetryPolicy, best: Best | None = None) -> None:
        self._root = root
        self._sink = sink
        self._best = best
        self._written: Relay[_Written] = Relay("checkpoint delivery", self._deliver, policy, _storage_gave_up)
        self._taken: Relay[_Taken] = Relay("checkpoint writer", self._write, policy, _disk_gave_up)

    def __enter__(self) -> "CheckpointWriter":
        """Start the threads."""
        self._written.__enter__()
        self._taken.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the threads. What is being written becomes whole; what waits, or is not handed on yet, is dropped."""
        self._taken.__exit__(kind, error, trace)
        self._written.__exit__(kind, error, trace)
        self._taken.join(CLOSING_S)

    @property
    def is_free(self) -> bool:
        """Whether no snapshot waits: one taken now replaces none, and was not taken in vain."""
        return not self._taken.is_waited_for

    def make_room(self) -> None:
        """Drop the snapshot that waits, before a newer one is taken: never are more than two in memory."""
        self._taken.drop_waiting()

    def put(self, snapshot: Snapshot, note: Note) -> None:
        """Have a snapshot written and handed on soon; returns at once."""
        self._taken.put(_Taken(snapshot, note))

    def check(self) -> None:
        """Raise what ended the saving, if anything did.

        Raises:
            StorageFullError: the disk was full for longer than allowed.
            UnavailableError: the disk failed, or the sink was away, for longer than allowed.
            StaleLeaseError: another worker has the job.
        """
        self._taken.check()
        self._written.check()

    def flush_to_disk(self) -> None:
        """Wait until everything is written, handed on or not: what is put then is taken at once, and never replaced.

        Raises:
            StorageFullError: the disk was full for longer than allowed.
            UnavailableError: it failed for longer than allowed.
        """
        self._taken.flush()

    def flush(self) -> None:
        """Wait until everything is written and handed on, within the policy's limits; raises as `check`."""
        self._taken.flush()
        self._written.flush()

    def _write(self, taken: _Taken) -> None:
        spared = [written.folder for written in self._written.held]
        folder = write_checkpoint(self._root, taken.snapshot.tensors(), taken.note, best=self._best, spared=spared)
        self._written.put(_Written(folder, taken.step))

    def _deliver(self, written: _Written) -> None:
        self._sink.save(written.folder, written.step)


def _storage_gave_up(step: int, tried_s: float, error: Exception) -> Exception:
    return UnavailableError(
        f"the checkpoint of step {step} could not be stored for {tried_s:.0f} s: {error}; training stopped, so that no "
        "more work is lost. Bring the storage back and resume the run, or raise train.checkpoint_retry_s"
    )


def _disk_gave_up(step: int, tried_s: float, error: Exception) -> Exception:
    kind = StorageFullError if isinstance(error, StorageFullError) else UnavailableError
    return kind(
        f"the checkpoint of step {step} could not be written for {tried_s:.0f} s: {error}; training stopped, so that "
        "no more work is lost. Then resume the run, or raise train.checkpoint_retry_s"
    )

"""A run's checkpoints: when one is due, which are kept, and how a run goes on from one."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from services.common.errors import InvalidError
from services.train_svc.engine.batch import Source
from services.train_svc.engine.checkpointing import (
    Best,
    CheckpointWriter,
    Note,
    RetryPolicy,
    list_notes,
    read_checkpoint,
)
from services.train_svc.engine.metrics import goes_up
from services.train_svc.engine.ports import CheckpointSink
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.learner import Learner


class Keeper:
    """Saves a run's state, and gives it back.

    Args:
        folder: where its checkpoints are written.
        spec: of the run.
        source: what it learns from.
        sink: keeps them beyond this process.
        watched: the metric that the best are chosen by, such as `validation_accuracy`.
    """

    def __init__(self, folder: Path, spec: TrainSpec, source: Source, sink: CheckpointSink, watched: str) -> None:
        self.folder = folder
        self._spec, self._source = spec, source
        self._best = Best(count=spec.keep_best, metric=watched, rises=goes_up(watched))
        policy = RetryPolicy(give_up_s=spec.checkpoint_retry_s)
        self._writer = CheckpointWriter(folder, sink, policy, best=self._best if spec.keep_best else None)
        self._saved = time.monotonic()
        self.newest_step: int | None = None
        """Step of the last checkpoint of this process; None: there is none yet."""

    def __enter__(self) -> "Keeper":
        """Start writing in the background."""
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it; what is not saved by `flush` is dropped."""
        self._writer.__exit__(kind, error, trace)

    def is_due(self) -> bool:
        """Say whether the last checkpoint is long enough ago; raises what ended the saving, if anything did."""
        self._writer.check()
        # One taken while another waits would replace it, and was taken in vain.
        return self._writer.is_free and time.monotonic() - self._saved >= self._spec.checkpoint_every_s

    def is_best(self, metrics: Mapping[str, float]) -> bool:
        """Say whether weights with these metrics belong to the best that are kept."""
        value = metrics.get(self._best.metric)
        if not self._spec.keep_best or value is None or value != value:  # noqa: PLR0124 - what is no number is not best
            return False
        found = self._best.of(list_notes(self.folder))
        if len(found) < self._spec.keep_best:
            return True
        worst = found[-1].metrics[self._best.metric]
        return value >= worst if self._best.rises else value <= worst

    def save(
        self,
        learner: Learner,
        *,
        step: int,
        metrics: Mapping[str, float],
        evaluated: int | None,
        stopping: Any,  # noqa: ANN401 - plain data
    ) -> None:
        """Save the state as it is now, in the background.

        Args:
            learner: whose.
            step: steps made.
            metrics: of the last evaluation.
            evaluated: steps made when they were measured; None: there was no evaluation.
            stopping: of early stopping, as plain data.
        """
        note = Note(
            step=step,
            steps_per_epoch=self._source.steps_per_epoch,
            spec_digest=self._spec.digest,
            dataset_digest=self._source.digest,
            engine=self._spec.engine,
            engine_version=learner.version,
            metrics=dict(metrics),
            evaluated_step=evaluated,
            stopping=stopping,
        )
        if evaluated == step and self.is_best(metrics):
            # One that is kept must not be replaced by a newer one while it waits.
            self._writer.flush_to_disk()
        self._writer.make_room()
        self._writer.put(learner.state(), note)
        self._saved, self.newest_step = time.monotonic(), step

    def flush(self) -> None:
        """Wait until all is saved.

        Raises:
            UnavailableError: the storage stayed away too long.
            StaleLeaseError: another worker has the job.
        """
        self._writer.flush()

    def restore(self, folder: Path, learner: Learner) -> Note:
        """Fill a learner from a checkpoint, and return where the run stood.

        Raises:
            InvalidError: it is damaged, or belongs to another spec or other data.
        """
        found = read_checkpoint(folder)
        note = found.note
        same = (self._spec.digest, self._source.digest, self._source.steps_per_epoch)
        if (note.spec_digest, note.dataset_digest, note.steps_per_epoch) != same:
            message = "the checkpoint belongs to another training spec or dataset version; start a new run for this one"
            raise InvalidError(message, field="checkpoint")
        learner.fill(found.tensors)
        return note

    def best(self) -> Note | None:
        """Return the note of the best checkpoint; None: none was kept."""
        found = self._best.of(list_notes(self.folder)) if self._spec.keep_best else []
        return found[0] if found else None

    def folder_of(self, note: Note) -> Path:
        """Return the folder of a checkpoint."""
        return self.folder / f"step-{note.step:012d}"

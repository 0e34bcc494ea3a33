"""Group commit: one thread writes what many callers log, in one transaction, and answers each once it is durable.

A commit costs a disk flush whatever it holds. Callers that arrive while one is under way share the next, so the
rate grows with the load while a lone caller waits for its own flush only.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.errors import BusyError, ModelwrightError, StaleLeaseError, UnavailableError
from services.common.jobs import Job, Lease
from services.train_svc.models import Entry
from services.train_svc.repository import points, runs
from services.train_svc.repository.names import Name, intern_names
from services.train_svc.repository.points import LastRow, PointRow, WritableRun

log = logging.getLogger("modelwright.train.ingest")

SURROUNDINGS = {"code_version": "code_version", "environment": "environment_json", "hardware": "hardware_json"}
"""Tags by which a worker of ours says what it runs on, and the run's fields that they become."""

Refused = dict[str, str]
"""Run id to the reason why its entry was not written."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What one caller logs at once."""

    entries: Sequence[Entry]
    lease: Lease | None = None
    answer: "Future[Refused]" = field(default_factory=Future)

    @property
    def size(self) -> int:
        """How many points it holds."""
        return sum(entry.size for entry in self.entries)


class Ingest:
    """The writer of metrics, parameters and tags.

    Args:
        database: where the tables are.
        check_lease: raises StaleLeaseError for an old lease (`JobService.check_lease`).
        notify: called after the commit with the id of each run that was written.
        group_points: points written in one transaction at most.
        queue_points: points that may wait.
        timeout_s: how long a caller waits for its points to be durable.
    """

    def __init__(
        self,
        database: Database,
        check_lease: Callable[[Session, Lease], Job],
        notify: Callable[[str], None],
        *,
        group_points: int = 20_000,
        queue_points: int = 1_000_000,
        timeout_s: float = 30.0,
    ) -> None:
        self._database = database
        self._check_lease = check_lease
        self._notify = notify
        self._group_points, self._queue_points, self._timeout_s = group_points, queue_points, timeout_s
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._waiting, self._lock = 0, threading.Lock()
        self._names: dict[Name, int] = {}
        self._thread = threading.Thread(target=self._run, name="train-ingest", daemon=True)

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout=self._timeout_s)

    @property
    def waiting_points(self) -> int:
        """Points that callers wait for."""
        return self._waiting

    def write(self, entries: Sequence[Entry], lease: Lease | None = None) -> Refused:
        """Return once every entry is durable, or refused for the reason returned.

        Raises:
            StaleLeaseError: the lease is old; nothing was written.
            BusyError: too many points wait already.
            UnavailableError: the database did not take them in time.
        """
        batch = Batch(entries=entries, lease=lease)
        size = batch.size
        self._admit(size)
        try:
            self._queue.put(batch)
            return batch.answer.result(self._timeout_s)
        except FutureTimeoutError as error:
            raise UnavailableError("the points were not durable in time; send them again, none is doubled") from error
        finally:
            with self._lock:
                self._waiting -= size

    def _admit(self, size: int) -> None:
        with self._lock:
            if self._waiting and self._waiting + size > self._queue_points:
                raise BusyError(f"{self._waiting} points wait to be written; send these again in a second")
            self._waiting += size

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, more = self._gather(first)
            self._write_group(group)
            if not more:
                return

    def _gather(self, first: Batch) -> tuple[list[Batch], bool]:
        """Return all that waits, up to the group's size, and whether to go on afterwards."""
        group, size = [first], first.size
        while size < self._group_points:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return group, False
            group.append(following)
            size += following.size
        return group, True

    def _write_group(self, group: Sequence[Batch]) -> None:
        try:
            answers = self._commit(group)
        except Exception as error:
            if len(group) > 1:
                # One batch must not spoil the others: each gets a transaction, and its own error.
                for batch in group:
                    self._write_group([batch])
                return
            if not isinstance(error, ModelwrightError):
                log.exception("a batch could not be written")
            group[0].answer.set_exception(error)
            return
        for batch, answer in zip(group, answers, strict=True):
            if isinstance(answer, StaleLeaseError):
                batch.answer.set_exception(answer)
            else:
                batch.answer.set_result(answer)

    def _commit(self, group: Sequence[Batch]) -> list[Refused | StaleLeaseError]:
        with self._database.write() as session:
            transaction = _Transaction(session, self._names)
            stale = self._stale(session, group)
            transaction.load(batch for batch in group if batch not in stale)
            answers: list[Refused | StaleLeaseError] = [
                stale[batch] if batch in stale else transaction.take(batch) for batch in group
            ]
            written = transaction.flush()
        self._names.update(transaction.new_names)
        for run_id in written:
            self._notify(run_id)
        return answers

    def _stale(self, session: Session, group: Sequence[Batch]) -> dict[Batch, StaleLeaseError]:
        found: dict[Batch, StaleLeaseError] = {}
        leased = [(batch.lease, batch) for batch in group if batch.lease]
        # In one order, so that two replicas never wait for each other in a circle.
        for lease, batch in sorted(leased, key=lambda pair: (pair[0].job_id, pair[0].token)):
            try:
                self._check_lease(session, lease)
            except StaleLeaseError as error:
                found[batch] = error
        return found


class _Transaction:
    """One group in the making: rows are gathered, then written in a few statements."""

    def __init__(self, session: Session, known_names: dict[Name, int]) -> None:
        self._session = session
        self._known_names = known_names
        self.new_names: dict[Name, int] = {}
        self._runs: dict[str, WritableRun] = {}
        self._params: dict[int, dict[str, str]] = {}
        self._rows: list[PointRow] = []
        self._last: dict[tuple[int, int], LastRow] = {}
        self._written: dict[str, None] = {}

    def load(self, batches: Iterable[Batch]) -> None:
        """Look up the runs and names of all batches at once."""
        entries = [entry for batch in batches for entry in batch.entries]
        self._runs = points.writable_runs(self._session, sorted({entry.run_id for entry in entries}))
        wanted = {
            (run.project, "metric", key)
            for entry in entries
            if (run := self._runs.get(entry.run_id))
            for key in entry.points
        }
        self.new_names = intern_names(self._session, (name for name in wanted if name not in self._known_names))

    def take(self, batch: Batch) -> Refused:
        """Gather one caller's entries and return those that are refused."""
        refused: Refused = {}
        for entry in batch.entries:
            if reason := self._fault(entry, batch.lease):
                refused[entry.run_id] = reason
            else:
                self._gather(entry, is_ours=batch.lease is not None)
        return refused

    def flush(self) -> list[str]:
        """Write the points and return the runs that changed."""
        # Neighbours in the table are written one after the other.
        self._rows.sort(key=lambda row: row[:3])
        points.insert_points(self._session, self._rows)
        points.raise_last(self._session, list(self._last.values()))
        return list(self._written)

    def _fault(self, entry: Entry, lease: Lease | None) -> str:
        run = self._runs.get(entry.run_id)
        if run is None:
            return f"no run {entry.run_id!r}; it may have been deleted"
        if lease and run.job_id != lease.job_id:
            return f"run {entry.run_id} is not carried out by job {lease.job_id}"
        if entry.params:
            kept = self._kept_params(run)
            for key, value in entry.params.items():
                if kept.get(key, value) != value:
                    return f"parameter {key!r} is {kept[key]!r} and cannot become {value!r}; use a tag or a new run"
        return ""

    def _kept_params(self, run: WritableRun) -> dict[str, str]:
        if run.key not in self._params:
            self._params[run.key] = runs.params_of(self._session, run.key)
        return self._params[run.key]

    def _gather(self, entry: Entry, *, is_ours: bool) -> None:
        run = self._runs[entry.run_id]
        self._written[entry.run_id] = None
        if entry.params:
            kept = self._kept_params(run)
            new = {key: value for key, value in entry.params.items() if key not in kept}
            runs.put_values(self._session, run.project, run.key, "param", new)
            kept.update(new)
        self._tag(run, entry, is_ours=is_ours)
        for key, logged in entry.points.items():
            name: Name = (run.project, "metric", key)
            name_id = self._known_names.get(name) or self.new_names[name]
            self._rows.extend((run.key, name_id, step, value, time) for step, value, time in logged)
            self._note_last(run.key, name_id, logged)

    def _tag(self, run: WritableRun, entry: Entry, *, is_ours: bool) -> None:
        told = {name: text for name, text in entry.tags.items() if is_ours and name in SURROUNDINGS}
        if told:
            values = {SURROUNDINGS[name]: text for name, text in told.items()}
            runs.change_run(self._session, entry.run_id, **values)
        tags = {name: text for name, text in entry.tags.items() if name not in told}
        runs.put_values(self._session, run.project, run.key, "tag", tags)

    def _note_last(self, run_key: int, name_id: int, logged: list[tuple[int, float | None, float]]) -> None:
        # `max` gives the first of several points at the highest step, which is the one that is kept.
        step, value, time = max(logged, key=_step)
        low = min(logged, key=_step)[0]
        if known := self._last.get((run_key, name_id)):
            low = min(low, known.low_step)
            if known.step >= step:
                step, value, time = known.step, known.value, known.time
        self._last[run_key, name_id] = LastRow(run_key, name_id, step, value, time, low)


def _step(point: tuple[int, float | None, float]) -> int:
    return point[0]

"""Sends kept records to the server, in order, each batch as often as it takes."""

import logging
import math
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from modelwright.client import Client
from modelwright.client.settings import ClientSettings
from modelwright.tracking.records import Ended, Entry, Kept, Logged, Marker, Packaged, decode, read_run, write_run
from services.common.errors import BusyError, ModelwrightError, NotFoundError, UnauthorizedError, UnavailableError
from services.common.outbox.refused import keep_aside

LOGGER = logging.getLogger("modelwright.tracking")
POINTS_A_CALL = 10_000
"""About 1 MB of JSON, well under the gateway's limit of a body."""
LATER = (UnavailableError, BusyError, UnauthorizedError)
"""Failures that pass, or that a token cures: the records wait."""


class Delivery:
    """Carries records to one server; a record the server refuses for good is put aside, not repeated.

    Args:
        settings: the server; calls are not repeated here, because the outbox repeats batches.
        folder: of the server's records: `runs/` has the run files, `refused/` what the server would not take.
    """

    def __init__(self, settings: ClientSettings, folder: Path) -> None:
        self._settings = replace(settings, retries=0)
        self.folder = folder
        self.delivered = 0
        """Records that the server took or refused for good."""
        self.failing_since: float | None = None
        """Moment of the monotonic clock since which the server does not take any; None while it does."""
        self._ids: dict[str, str] = {}
        self._client: Client | None = None
        self._pid = 0

    @property
    def client(self) -> Client:
        """The server; after a fork a new connection, because the old one is the parent's."""
        if self._client is None or self._pid != os.getpid():
            self._client, self._pid = Client(settings=self._settings), os.getpid()
        return self._client

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()

    def deliver(self, batch: Sequence[bytes]) -> None:
        """Send the records; to be called again with the same ones if it raises `UnavailableError`.

        Every call is idempotent: runs by their key, points by (run, key, step), files by digest.
        """
        try:
            self._deliver([decode(record) for record in batch])
        except UnavailableError:
            self.failing_since = self.failing_since or time.monotonic()
            raise
        self.failing_since = None
        self.delivered += len(batch)

    def _deliver(self, entries: Sequence[Entry]) -> None:
        waiting: list[Logged] = []
        points = 0
        for entry in entries:
            if isinstance(entry, Logged):
                waiting.append(entry)
                points += len(entry.metrics)
                if points < POINTS_A_CALL:
                    continue
            self._log(waiting)
            waiting, points = [], 0
            if not isinstance(entry, Logged | Marker):
                self._carry_out(entry)
        self._log(waiting)

    def run_id(self, key: str) -> str:
        """Return the server's id of a run, creating the run if the server does not know it."""
        if key not in self._ids:
            run = read_run(self.folder / "runs", key)
            if not run.run_id:
                made = self.client.runs.create(
                    run.name,
                    params=run.params,
                    tags=run.tags,
                    dataset_digest=run.dataset_digest,
                    code_version=run.code_version,
                    environment=run.environment,
                    hardware=run.hardware,
                    key=key,
                )
                run.run_id = made.id
                write_run(self.folder / "runs", run)
            self._ids[key] = run.run_id
        return self._ids[key]

    def _log(self, logged: Sequence[Logged]) -> None:
        if not logged:
            return
        try:
            refused = self.client.runs.log(list(self._entries(logged)))
        except LATER as error:
            raise UnavailableError(error.message) from error
        except ModelwrightError as error:
            self._narrow(logged, error)
        else:
            for run_id, reason in refused.items():
                keys = {key for key, known in self._ids.items() if known == run_id}
                self._put_aside([entry for entry in logged if entry.run in keys], reason)

    def _narrow(self, logged: Sequence[Logged], error: ModelwrightError) -> None:
        """One bad record must not cost its neighbours: part the runs, then halve until it stands alone."""
        keys = {entry.run for entry in logged}
        if len(keys) > 1:
            for key in keys:
                self._log([entry for entry in logged if entry.run == key])
        elif len(logged) == 1 or isinstance(error, NotFoundError):
            self._put_aside(logged, error.message)
        else:
            middle = len(logged) // 2
            self._log(logged[:middle])
            self._log(logged[middle:])

    def _entries(self, logged: Sequence[Logged]) -> Iterable[dict[str, Any]]:
        by_run: dict[str, dict[str, Any]] = {}
        for entry in logged:
            run_id = self.run_id(entry.run)
            found = by_run.setdefault(run_id, {"run_id": run_id, "points": [], "params": {}, "tags": {}})
            found["points"].extend(
                {"key": key, "step": entry.step, "value": _number(value), "time": entry.time}
                for key, value in entry.metrics.items()
            )
            found["params"].update(entry.params)
            found["tags"].update(entry.tags)
        return by_run.values()

    def _carry_out(self, entry: Entry) -> None:
        try:
            run_id = self.run_id(entry.run)
            if isinstance(entry, Ended):
                self._finish(run_id, entry)
            elif isinstance(entry, Kept):
                self._keep(run_id, entry)
            elif isinstance(entry, Packaged):
                self._register(run_id, entry)
        except LATER as error:
            raise UnavailableError(error.message) from error
        except ModelwrightError as error:
            self._put_aside([entry], error.message)

    def _finish(self, run_id: str, entry: Ended) -> None:
        if not self.client.runs.get(run_id).has_ended:
            self.client.runs.finish(run_id, entry.state, entry.error)

    def _keep(self, run_id: str, entry: Kept) -> None:
        copy = Path(entry.copy)
        if copy.exists():
            self.client.runs.record_artifact(run_id, self.client.blobs.put(copy, entry.path))
            copy.unlink(missing_ok=True)

    def _register(self, run_id: str, entry: Packaged) -> None:
        copy = Path(entry.copy)
        if copy.exists():
            self.client.models.create(
                entry.name, copy, run_id=run_id, dataset_digest=entry.dataset_digest, variant=entry.variant
            )
            shutil.rmtree(copy, ignore_errors=True)

    def _put_aside(self, entries: Sequence[Entry], reason: str) -> None:
        if entries:
            place = keep_aside(self.folder, [msgspec.to_builtins(entry) for entry in entries], reason)
            LOGGER.warning("the server refused %d record(s), kept in %s: %s", len(entries), place, reason)


def _number(value: float) -> float | str:
    # JSON has no such numbers; these are ProtoJSON's words for them.
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

"""What inference servers are told and what they tell."""

import time
from collections.abc import Callable, Iterator

from services.common.db import Database
from services.common.errors import InvalidError, NotFoundError
from services.common.ids import new_id
from services.common.signals import Signal
from services.serve_svc import repository
from services.serve_svc.engine.deployment import Assignment, Endpoint, Report, RevisionState
from services.serve_svc.service.views import CHANGES, settle

GOODBYE_S = 2.0
"""A server whose stream broke has this long to come back before traffic is sent elsewhere."""
REPORTED = (RevisionState.LOADING, RevisionState.READY, RevisionState.FAILED)


class Servers:
    """Use cases of inference servers.

    Args:
        database: of the service.
        signal: wakes watchers.
        timeout_s: a server not heard of for this long is gone.
        watch_interval_s: how often watchers look for changes made elsewhere.
    """

    def __init__(self, database: Database, signal: Signal, *, timeout_s: float, watch_interval_s: float) -> None:
        self._database = database
        self._signal = signal
        self._timeout_s = timeout_s
        self._watch_interval_s = watch_interval_s

    def watch(
        self, server: str, endpoint: Endpoint, is_connected: Callable[[], bool], is_stopping: Callable[[], bool]
    ) -> Iterator[list[Assignment]]:
        """Yield all that the server shall hold, now and after each change; it counts as live meanwhile."""
        if not server or not endpoint.rest_url or not endpoint.grpc_address:
            raise InvalidError("an inference server gives its name and both addresses", field="server")
        stream = self._greet(server, endpoint)
        try:
            yield from self._assignments(server, stream, lambda: is_connected() and not is_stopping())
        finally:
            # While this service restarts its servers go on serving; they are not gone.
            if not is_stopping():
                self._keep(server, stream, GOODBYE_S)

    def _assignments(self, server: str, stream: str, is_wanted: Callable[[], bool]) -> Iterator[list[Assignment]]:
        last: list[Assignment] | None = None
        kept_s = time.monotonic()
        while is_wanted():
            seen = self._signal.count(CHANGES)
            with self._database.read() as session:
                found = repository.assignments(session)
                waiting = bool(repository.unsettled(session))
            if found != last:
                yield found
            last = found
            if time.monotonic() - kept_s > self._timeout_s / 3:
                self._keep(server, stream, self._timeout_s)
                kept_s = time.monotonic()
            if not self._signal.wait(CHANGES, seen, self._watch_interval_s) and waiting:
                # A server that vanished no longer holds the others up.
                self._settle()

    def report(self, server: str, revision_id: str, state: RevisionState, error: str) -> None:
        """Note what a server says of a revision and judge the revision anew."""
        if state not in REPORTED:
            raise InvalidError("a server reports loading, ready or failed", field="state")
        with self._database.write() as session:
            if repository.find_revision(session, revision_id) is None:
                raise NotFoundError(f"there is no revision {revision_id!r}")
            repository.put_report(session, revision_id, Report(server=server, state=state, error=error))
            settle(session)
        self._signal.notify(CHANGES)

    def _greet(self, server: str, endpoint: Endpoint) -> str:
        stream = new_id("stream")
        with self._database.write() as session:
            repository.put_server(session, server, endpoint, stream, time.time() + self._timeout_s)
        self._signal.notify(CHANGES)
        return stream

    def _keep(self, server: str, stream: str, for_s: float) -> None:
        with self._database.write() as session:
            repository.keep_server(session, server, stream, time.time() + for_s)

    def _settle(self) -> None:
        with self._database.write() as session:
            changed = settle(session)
        if changed:
            self._signal.notify(CHANGES)

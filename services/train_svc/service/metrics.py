"""Use cases of metrics: log, read, watch; and the search of runs by them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from services.common.db import Database
from services.common.errors import InvalidError, NotFoundError
from services.common.jobs import Lease
from services.common.paging import decode_token, encode_token, page_limit
from services.common.signals import Signal
from services.train_svc.models import ENDED, Entry, Point, Run, Series
from services.train_svc.repository import points, runs
from services.train_svc.repository.filters import parse_filter, parse_order
from services.train_svc.repository.points import Cursor
from services.train_svc.repository.search import Page, find_page
from services.train_svc.service.checks import check_key, check_values
from services.train_svc.service.ingest import Ingest, Refused
from services.train_svc.service.thinning import thin

LOOK_AGAIN_S = 0.5
"""How often a watcher looks for what another replica wrote."""
LEAST_STEP = -(2**63)
PAUSE_S = 0.02
"""Least time between two looks of a watcher, so that a busy run is sent in groups."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a watcher is told: the run if it changed, and new points.

    A point may come twice; (key, step) tells. Points come in groups of one metric in the order of steps.
    """

    run: Run | None = None
    points: Sequence[Point] = field(default_factory=list)


class MetricService:
    """Logs, reads and watches metrics, and finds runs by them.

    Args:
        database: where the tables are.
        ingest: writes what is logged.
        signal: notified with a run's id after each commit that changed it.
    """

    def __init__(self, database: Database, ingest: Ingest, signal: Signal) -> None:
        self._database = database
        self._ingest = ingest
        self._signal = signal

    def log(self, entries: Sequence[Entry], lease: Lease | None = None) -> Refused:
        """Write points, parameters and tags of any number of runs, durably; return refused runs with the reason.

        An entry is written whole or refused whole, and spoils no other. A point that is there already by
        (run, key, step) stays as it is. A parameter is set once: the same value again is no fault, another is.

        Raises:
            StaleLeaseError: the lease is old; nothing was written.
            BusyError: too many points wait already.
        """
        refused: Refused = {}
        sound: list[Entry] = []
        for entry in entries:
            if reason := _fault(entry):
                refused[entry.run_id] = reason
            else:
                sound.append(entry)
        return {**refused, **(self._ingest.write(sound, lease) if sound else {})}

    def read(self, run_id: str, *, keys: Sequence[str], after_step: int | None, max_points: int) -> list[Series]:
        """Return the points of a run's metrics behind a step, thinned to `max_points` a metric (0: all).

        Raises:
            InvalidError: `max_points` is negative.
            NotFoundError: there is no such run; a key without points is an empty series.
        """
        if max_points < 0:
            raise InvalidError(f"max_points is {max_points}; give 0 for all, or more", field="max_points")
        with self._database.read() as session:
            run_key = runs.key_of(session, run_id)
            found: list[Series] = []
            for cursor in points.cursors(session, run_key):
                if keys and cursor.key not in keys:
                    continue
                count = points.count_points(session, run_key, cursor.name_id, after_step)
                rows = points.read_points(session, run_key, cursor, after_step)
                found.append(_series(cursor.key, thin(rows, count, max_points)))
        return found

    def watch(self, run_id: str, leave: Callable[[], bool]) -> Iterator[Change]:
        """Yield the run, then its new points and changes, until it has ended or `leave()`.

        The first run shows the last point of each metric; only points behind those follow. Who wants all reads
        them once after the first answer: none falls between. After a broken stream do the same with
        `after_step`. Points of this process come at once, those of other replicas within half a second.
        """
        run: Run | None = None
        seen: dict[str, Cursor] = {}
        while not leave():
            count = self._signal.count(run_id)
            change, seen = self._look(run_id, run, seen)
            if change.run or change.points:
                yield change
            run = change.run or run
            if run and run.state in ENDED:
                return
            if not self._signal.wait(run_id, count, LOOK_AGAIN_S):
                continue
            time.sleep(PAUSE_S)

    def search(
        self, project: str, *, text: str, order_by: str, page_size: int, page_token: str
    ) -> tuple[list[Run], str]:
        """Return a page of runs that satisfy a filter, and the token of the next.

        Raises:
            InvalidError: the filter or order cannot be read (the place is named), or the token is another query's.
        """
        query = {"project": project, "filter": text, "order_by": order_by}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        node, order = parse_filter(text), parse_order(order_by)
        with self._database.read() as session:
            found: Page = find_page(session, project, node, order, after=after, limit=limit)
            page = runs.load_runs(session, found.keys)
        return page, encode_token(found.after, query) if found.after else ""

    def _look(self, run_id: str, last: Run | None, seen: dict[str, Cursor]) -> tuple[Change, dict[str, Cursor]]:
        with self._database.read() as session:
            run_key = runs.key_of(session, run_id)
            # The run first: if it has ended here, no point that came before its end is missed below.
            found = runs.load_runs(session, [run_key])
            if not found:
                raise NotFoundError(f"no run {run_id!r}")
            now = {cursor.key: cursor for cursor in points.cursors(session, run_key)}
            if last is None:
                shown = found[0].metrics
                return Change(run=found[0]), {k: now[k]._replace(step=shown[k].step) for k in shown if k in now}
            fresh = [
                point
                for key, cursor in now.items()
                if (known := seen.get(key)) != cursor
                for point in points.read_points(session, run_key, cursor, _behind(cursor, known))
            ]
        return Change(run=found[0] if _differs(found[0], last) else None, points=fresh), now


def _behind(now: Cursor, before: Cursor | None) -> int | None:
    """Return the step behind which a metric that changed has points that were not sent; None: send all."""
    if before is None or now.rewinds > before.rewinds + 1:
        return None
    if now.rewinds == before.rewinds:
        return before.step
    # One batch went back, and how far is known; of several only the last would be.
    return min(now.rewound_step - 1, before.step) if now.rewound_step > LEAST_STEP else None


def _differs(run: Run, last: Run) -> bool:
    return any(getattr(run, name) != getattr(last, name) for name in Run.__dataclass_fields__ if name != "metrics")


def _fault(entry: Entry) -> str:
    try:
        for key in entry.points:
            check_key(key, "metric")
        check_values(entry.params, "params")
        check_values(entry.tags, "tags")
    except InvalidError as error:
        return error.message
    return ""


def _series(key: str, found: Sequence[Point]) -> Series:
    return Series(
        key=key, steps=[p.step for p in found], values=[p.value for p in found], times=[p.time for p in found]
    )

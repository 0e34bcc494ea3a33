"""The search that turns pages of 100,000 runs around in milliseconds.

The newest runs are walked first: most searches fill their page there, with two or three probes by primary key a
run. One that does not is answered from the conjunct that leaves the fewest runs: its rows lie together in an index
that begins with the name (`ix_metric_last_search`, `ix_run_values_search`), are counted there in a few
milliseconds, and each is probed for the other conjuncts. Planners do not find this by themselves: SQLite's knows
no figures of how many rows a condition leaves, PostgreSQL's takes conditions for independent of one another and
of the order.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import FromClause

from services.train_svc.models.tables import metric_last, run_values, runs
from services.train_svc.repository.conditions import Compiled, compare, compile_filter, value_condition
from services.train_svc.repository.filters import Absent, All, Comparison, Node
from services.train_svc.repository.names import find_name

WINDOW = 4000
"""Keys walked at first, about 10 ms."""
WORTH_WALKING = 6
"""Walking goes on if the first window filled this part of the page."""
COUNT_CAP = 200_000
"""Rows counted of a conjunct at most."""
RANKED = 2
"""Values in the token of a page that ended among the ranked runs; behind them it holds the key alone."""


@dataclass(frozen=True)
class Driver:
    """The rows that are walked: `source` has one row a candidate run, whose key is `run_key`."""

    source: FromClause
    run_key: ColumnElement[Any]
    where: Compiled


@dataclass(frozen=True)
class Page:
    """Keys of runs in the order asked for, and the values to go on behind (empty: there are no more)."""

    keys: list[int]
    after: list[Any]


def find_page(
    session: Session,
    project: str,
    node: Node | None,
    order: tuple[str, str, bool],
    *,
    after: list[Any] | None,
    limit: int,
) -> Page:
    """Return a page of runs. Ordered by a metric, parameter or tag, runs without it come last, newest first.

    Args:
        session: reads the database.
        project: whose runs.
        node: the filter.
        order: (kind, name, descending).
        after: `Page.after` of the page before; None for the first.
        limit: runs on a page.
    """
    kind, name, descending = order
    parts = _conjuncts(node)
    if kind == "attribute":
        before = after[0] if after else None
        keys = newest_keys(session, project, parts, before=before, descending=descending, limit=limit + 1)
        return Page(keys[:limit], [keys[limit - 1]] if len(keys) > limit else [])
    ranked: list[tuple[Any, int]] = []
    if after is None or len(after) == RANKED:
        last = (after[0], after[1]) if after else None
        ranked = ranked_keys(session, project, parts, order, after=last, limit=limit + 1)
    if len(ranked) > limit:
        return Page([key for _, key in ranked[:limit]], list(ranked[limit - 1]))
    first = [key for _, key in ranked]
    before = after[0] if after and len(after) != RANKED else None
    parts = (Absent(kind, name), *parts)
    keys = newest_keys(session, project, parts, before=before, descending=True, limit=limit + 1 - len(first))
    more = len(first) + len(keys) > limit
    page = (first + keys)[:limit]
    return Page(page, [page[-1]] if more and len(keys) > 1 else list(ranked[-1]) if more else [])


def newest_keys(
    session: Session, project: str, parts: tuple[Node, ...], *, before: int | None, descending: bool, limit: int
) -> list[int]:
    """Return keys of runs that satisfy all parts, in the order of creation, behind the key `before`."""
    key = runs.c.key
    whole = Driver(source=runs, run_key=key, where=runs.c.project == project)
    if not parts:
        return _walk(
            session, project, whole, parts, where=_behind(key, before, descending), down=descending, limit=limit
        )
    edge = before if before is not None else _edge(session, project, descending)
    window = and_(_behind(key, before, descending), key > edge - WINDOW if descending else key < edge + WINDOW)
    found = _walk(session, project, whole, parts, where=window, down=descending, limit=limit)
    if len(found) >= limit:
        return found
    if len(found) * WORTH_WALKING >= limit:
        beyond = key <= edge - WINDOW if descending else key >= edge + WINDOW
        left = limit - len(found)
        return found + _walk(session, project, whole, parts, where=beyond, down=descending, limit=left)
    driver, rest = choose_driver(session, project, parts, whole)
    where = _behind(driver.run_key, before, descending)
    return _walk(session, project, driver, rest, where=where, down=descending, limit=limit)


def ranked_keys(
    session: Session,
    project: str,
    parts: tuple[Node, ...],
    order: tuple[str, str, bool],
    *,
    after: tuple[Any, int] | None,
    limit: int,
) -> list[tuple[Any, int]]:
    """Return (value, key) of runs that satisfy all parts, in the order of a metric, parameter or tag."""
    kind, name, descending = order
    table = metric_last if kind == "metric" else run_values
    value: ColumnElement[Any] = table.c.value if kind == "metric" else table.c.head
    key = table.c.run_key
    query = select(value, key).where(table.c.name_id == (find_name(session, project, kind, name) or 0))
    query = query.where(value.is_not(None))
    for part in parts:
        # What is asked of the value that is walked needs no probe, and bounds the walk.
        is_walked = isinstance(part, Comparison) and (part.kind, part.name) == (kind, name)
        if is_walked and isinstance(part, Comparison):
            query = query.where(value_condition(table, part))
        else:
            query = query.where(compile_filter(session, project, part, key))
    if after:
        last, last_key = after
        further, behind = (value < last, key < last_key) if descending else (value > last, key > last_key)
        # The first comparison lets the index begin at the place; the second settles ties.
        query = query.where(value <= last if descending else value >= last, or_(further, behind))
    ordered = query.order_by(*((value.desc(), key.desc()) if descending else (value, key)))
    return [(row[0], row[1]) for row in session.execute(ordered.limit(limit))]


def choose_driver(
    session: Session, project: str, parts: tuple[Node, ...], whole: Driver
) -> tuple[Driver, tuple[Node, ...]]:
    """Return what to walk, the conjunct with the fewest rows, and what is left to probe of every row."""
    candidates = [(driver, part) for part in parts if (driver := _driver(session, project, part))]
    if not candidates:
        return whole, parts
    fewest, best = COUNT_CAP + 1, candidates[0]
    for driver, part in candidates if len(candidates) > 1 else ():
        if (count := _count(session, driver, fewest)) < fewest:
            fewest, best = count, (driver, part)
    return best[0], tuple(part for part in parts if part is not best[1])


def _walk(
    session: Session, project: str, driver: Driver, parts: tuple[Node, ...], *, where: Compiled, down: bool, limit: int
) -> list[int]:
    key = driver.run_key
    query: Select[Any] = select(key).select_from(driver.source).where(driver.where, where)
    for part in parts:
        query = query.where(compile_filter(session, project, part, key))
    # `+ 0` keeps planners from walking a driver's primary key, which is in order but knows no condition.
    order = key if driver.source is runs else key + 0
    return list(session.scalars(query.order_by(order.desc() if down else order.asc()).limit(limit)))


def _behind(key: ColumnElement[Any], before: int | None, descending: bool) -> Compiled:
    if before is None:
        return key.is_not(None)
    return key < before if descending else key > before


def _edge(session: Session, project: str, descending: bool) -> int:
    """Return the key of the newest run, or of the oldest."""
    pick = func.max if descending else func.min
    found = session.scalar(select(pick(runs.c.key)).where(runs.c.project == project)) or 0
    return int(found) + (1 if descending else -1)


def _conjuncts(node: Node | None) -> tuple[Node, ...]:
    if isinstance(node, All):
        return tuple(part for inner in node.parts for part in _conjuncts(inner))
    return (node,) if node else ()


def _driver(session: Session, project: str, node: Node) -> Driver | None:
    """Return how to walk only the runs that satisfy a comparison; None if no index leads to them."""
    if not isinstance(node, Comparison) or node.operator == "!=":
        return None
    if node.kind == "attribute":
        if node.name not in ("state", "name", "dataset_digest", "id"):
            return None
        return Driver(source=runs, run_key=runs.c.key, where=_attribute(project, node))
    name_id = find_name(session, project, node.kind, node.name)
    table = metric_last if node.kind == "metric" else run_values
    where = and_(table.c.name_id == (name_id or 0), value_condition(table, node))
    return Driver(source=table, run_key=table.c.run_key, where=where)


def _attribute(project: str, node: Comparison) -> Compiled:
    return and_(runs.c.project == project, compare(runs.c[node.name], node))


def _count(session: Session, driver: Driver, cap: int) -> int:
    rows = select(literal(1)).select_from(driver.source).where(driver.where).limit(cap).subquery()
    return session.scalar(select(func.count()).select_from(rows)) or 0

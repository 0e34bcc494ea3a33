"""Filters as SQL, and the search that turns pages of 100,000 runs around in milliseconds.

A filter becomes EXISTS probes by primary key. Which rows are walked is chosen here for SQLite, whose planner has
no figures of how many rows a condition leaves: the conjunct with the fewest rows drives, counted on its covering
index up to a cap. PostgreSQL keeps such figures itself and plans the same statement.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, and_, exists, false, func, literal, not_, or_, select, true
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import FromClause

from services.train_svc.models.tables import HEAD_CHARS, metric_last, run_values, runs
from services.train_svc.repository.filters import Absent, All, Comparison, Node, Not
from services.train_svc.repository.names import find_name

COUNT_CAP = 30_000
"""Rows counted of a conjunct at most; walking this many takes about 40 ms."""
RANKED = 2
"""Values in the token of a page that ended among the ranked runs; behind them it holds the key alone."""

Compiled = ColumnElement[bool]


@dataclass(frozen=True)
class Driver:
    """The rows that are walked: `source` has one row a candidate run, whose key is `run_key`."""

    source: FromClause
    run_key: ColumnElement[Any]
    where: Compiled
    is_whole: bool = False
    """Whether every run of the project is walked."""


def compile_filter(session: Session, project: str, node: Node | None, run_key: ColumnElement[Any]) -> Compiled:
    """Return the condition that the run of `run_key` satisfies the filter."""
    if node is None:
        return true()
    if isinstance(node, Comparison):
        return _probe(session, project, node, run_key)
    if isinstance(node, Absent):
        return _absent(session, project, node, run_key)
    if isinstance(node, Not):
        return not_(compile_filter(session, project, node.part, run_key))
    parts = [compile_filter(session, project, part, run_key) for part in node.parts]
    return and_(*parts) if isinstance(node, All) else or_(*parts)


def choose_driver(session: Session, project: str, node: Node | None) -> tuple[Driver, Node | None]:
    """Return what to walk and what is left to probe of every row."""
    whole = Driver(source=runs, run_key=runs.c.key, where=runs.c.project == project, is_whole=True)
    if session.get_bind().dialect.name != "sqlite":
        return whole, node
    parts = node.parts if isinstance(node, All) else (node,) if node else ()
    best, fewest, used = whole, COUNT_CAP, None
    for part in parts:
        driver = _driver(session, project, part)
        if driver and (count := _count(session, driver, fewest)) < fewest:
            best, fewest, used = driver, count, part
    if used is None:
        return whole, node
    rest = tuple(part for part in parts if part is not used)
    return best, All(rest) if rest else None


def newest_keys(
    session: Session, project: str, node: Node | None, *, before: int | None, descending: bool, limit: int
) -> list[int]:
    """Return keys of matching runs in the order of creation, behind the key `before`."""
    driver, rest = choose_driver(session, project, node)
    key = driver.run_key
    query: Select[Any] = select(key).select_from(driver.source).where(driver.where)
    query = query.where(compile_filter(session, project, rest, key))
    if before is not None:
        query = query.where(key < before if descending else key > before)
    # `+ 0` keeps SQLite from walking a driver's primary key, which is in order but knows no condition.
    order = key if driver.is_whole else key + 0
    return list(session.scalars(query.order_by(order.desc() if descending else order.asc()).limit(limit)))


def ranked_keys(
    session: Session,
    project: str,
    node: Node | None,
    *,
    by: tuple[str, str],
    after: tuple[Any, int] | None,
    descending: bool,
    limit: int,
) -> list[tuple[Any, int]]:
    """Return (value, key) of matching runs in the order of the metric, parameter or tag `by` = (kind, name)."""
    name_id = find_name(session, project, *by)
    table = metric_last if by[0] == "metric" else run_values
    value: ColumnElement[Any] = table.c.value if by[0] == "metric" else table.c.head
    key = table.c.run_key
    query = select(value, key).where(table.c.name_id == (name_id or 0), value.is_not(None))
    query = query.where(compile_filter(session, project, node, key))
    if after:
        last, last_key = after
        further, behind = (value < last, key < last_key) if descending else (value > last, key > last_key)
        # The first comparison lets the index begin at the place; the second settles ties.
        start = value <= last if descending else value >= last
        query = query.where(start, or_(further, behind))
    order = (value.desc(), key.desc()) if descending else (value, key)
    return [(row[0], row[1]) for row in session.execute(query.order_by(*order).limit(limit))]


def _absent(session: Session, project: str, node: Absent, run_key: ColumnElement[Any]) -> Compiled:
    name_id = find_name(session, project, node.kind, node.name)
    table = (metric_last if node.kind == "metric" else run_values).alias()
    here = (table.c.run_key == run_key, table.c.name_id == (name_id or 0), table.c.value.is_not(None))
    return ~exists().where(*here)


def _probe(session: Session, project: str, node: Comparison, run_key: ColumnElement[Any]) -> Compiled:
    if node.kind == "attribute":
        if run_key is runs.c.key:
            return _compare(runs.c[node.name], node)
        other = runs.alias()
        return exists().where(other.c.key == run_key, _compare(other.c[node.name], node))
    name_id = find_name(session, project, node.kind, node.name)
    if name_id is None:
        return false()
    table = (metric_last if node.kind == "metric" else run_values).alias()
    return exists().where(table.c.run_key == run_key, table.c.name_id == name_id, _value(table, node))


def _driver(session: Session, project: str, node: Node) -> Driver | None:
    """Return how to walk only the runs that satisfy a comparison; None if no index leads to them."""
    if not isinstance(node, Comparison) or node.operator in ("!=", "like"):
        return None
    if node.kind == "attribute":
        if node.name not in ("state", "name", "dataset_digest", "id"):
            return None
        where = and_(runs.c.project == project, _compare(runs.c[node.name], node))
        return Driver(source=runs, run_key=runs.c.key, where=where)
    name_id = find_name(session, project, node.kind, node.name)
    table = metric_last if node.kind == "metric" else run_values
    where = and_(table.c.name_id == (name_id or 0), _value(table, node))
    return Driver(source=table, run_key=table.c.run_key, where=where)


def _count(session: Session, driver: Driver, cap: int) -> int:
    rows = select(literal(1)).select_from(driver.source).where(driver.where).limit(cap).subquery()
    return session.scalar(select(func.count()).select_from(rows)) or 0


def _value(table: FromClause, node: Comparison) -> Compiled:
    if node.kind == "metric":
        return _compare(table.c.value, node)
    fits = all(len(str(text)) < HEAD_CHARS for text in node.literals)
    if fits and node.operator in ("=", "!=", "in"):
        return _compare(table.c.head, node)
    if node.operator == "=":
        return and_(table.c.head == str(node.literals[0])[:HEAD_CHARS], table.c.value == node.literals[0])
    return _compare(table.c.value, node)


def _compare(column: ColumnElement[Any], node: Comparison) -> Compiled:
    first: Any = node.literals[0]
    if isinstance(first, float):
        first = literal(first, Double())  # A seed of 1.5 or 1e300 is no integer, and no error.
    made: dict[str, Any] = {
        "=": lambda: column == first,
        "!=": lambda: column != first,
        "<": lambda: column < first,
        "<=": lambda: column <= first,
        ">": lambda: column > first,
        ">=": lambda: column >= first,
        "like": lambda: column.ilike(first),
        "in": lambda: column.in_(node.literals),
    }
    compared: Compiled = made[node.operator]()
    return compared


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
    if kind == "attribute":
        before = after[0] if after else None
        keys = newest_keys(session, project, node, before=before, descending=descending, limit=limit + 1)
        return Page(keys[:limit], [keys[limit - 1]] if len(keys) > limit else [])
    ranked: list[tuple[Any, int]] = []
    if after is None or len(after) == RANKED:
        last = (after[0], after[1]) if after else None
        ranked = ranked_keys(
            session, project, node, by=(kind, name), after=last, descending=descending, limit=limit + 1
        )
    if len(ranked) > limit:
        return Page([key for _, key in ranked[:limit]], list(ranked[limit - 1]))
    first = [key for _, key in ranked]
    before = after[0] if after and len(after) != RANKED else None
    absent = Absent(kind, name)
    parts = (absent, node) if node else (absent,)
    keys = newest_keys(session, project, All(parts), before=before, descending=True, limit=limit + 1 - len(first))
    more = len(first) + len(keys) > limit
    page = (first + keys)[:limit]
    return Page(page, [page[-1]] if more and len(keys) > 1 else list(ranked[-1]) if more else [])

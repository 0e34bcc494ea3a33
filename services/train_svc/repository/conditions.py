"""Filters as SQL conditions: a comparison becomes an EXISTS probe by primary key."""

from typing import Any

from sqlalchemy import ColumnElement, Double, and_, exists, false, literal, not_, or_, true
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import FromClause

from services.train_svc.models.tables import HEAD_CHARS, metric_last, run_values, runs
from services.train_svc.repository.filters import Absent, All, Comparison, Node, Not
from services.train_svc.repository.names import find_name

Compiled = ColumnElement[bool]


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


def value_condition(table: FromClause, node: Comparison) -> Compiled:
    """Return the comparison on the value columns of `metric_last` or `run_values`."""
    if node.kind == "metric":
        return compare(table.c.value, node)
    fits = all(len(str(text)) < HEAD_CHARS for text in node.literals)
    if fits and node.operator in ("=", "!=", "in"):
        return compare(table.c.head, node)
    if node.operator == "=":
        return and_(table.c.head == str(node.literals[0])[:HEAD_CHARS], table.c.value == node.literals[0])
    return compare(table.c.value, node)


def compare(column: ColumnElement[Any], node: Comparison) -> Compiled:
    """Return the comparison on a column."""
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


def _absent(session: Session, project: str, node: Absent, run_key: ColumnElement[Any]) -> Compiled:
    name_id = find_name(session, project, node.kind, node.name)
    table = (metric_last if node.kind == "metric" else run_values).alias()
    here = (table.c.run_key == run_key, table.c.name_id == (name_id or 0), table.c.value.is_not(None))
    return ~exists().where(*here)


def _probe(session: Session, project: str, node: Comparison, run_key: ColumnElement[Any]) -> Compiled:
    if node.kind == "attribute":
        if run_key is runs.c.key:
            return compare(runs.c[node.name], node)
        other = runs.alias()
        return exists().where(other.c.key == run_key, compare(other.c[node.name], node))
    name_id = find_name(session, project, node.kind, node.name)
    if name_id is None:
        return false()
    table = (metric_last if node.kind == "metric" else run_values).alias()
    return exists().where(table.c.run_key == run_key, table.c.name_id == name_id, value_condition(table, node))

"""SQL of metric points: many at once in, few at once out."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.train_svc.models import Point
from services.train_svc.models.tables import metric_last, metric_points, names, runs

PointRow = tuple[int, int, int, float | None, float]
"""(run_key, name_id, step, value or None for NaN, time)."""

INSERT_SQLITE = "INSERT OR IGNORE INTO metric_points (run_key, name_id, step, value, time) VALUES (?, ?, ?, ?, ?)"

# One statement for any number of rows, sent as five binary arrays: 4 times as fast as rows of parameters.
INSERT_POSTGRESQL = """
    INSERT INTO metric_points (run_key, name_id, step, value, time)
    SELECT * FROM unnest(%b::bigint[], %b::integer[], %b::bigint[], %b::float8[], %b::float8[])
    ON CONFLICT DO NOTHING
"""


class WritableRun(NamedTuple):
    """What the writer must know of a run."""

    key: int
    project: str
    job_id: str


class LastRow(NamedTuple):
    """The point at the highest step of one batch, and the batch's lowest step."""

    run_key: int
    name_id: int
    step: int
    value: float | None
    time: float
    low_step: int


class Cursor(NamedTuple):
    """How far a metric has come, for those who watch it."""

    name_id: int
    key: str
    step: int
    rewinds: int
    rewound_step: int


def writable_runs(session: Session, ids: Sequence[str]) -> dict[str, WritableRun]:
    """Return the runs that exist, kept from being deleted until the transaction ends."""
    query = select(runs.c.id, runs.c.key, runs.c.project, runs.c.job_id).where(runs.c.id.in_(ids)).order_by(runs.c.key)
    rows = session.execute(query.with_for_update(read=True, key_share=True))
    return {row[0]: WritableRun(row[1], row[2], row[3]) for row in rows}


def insert_points(session: Session, rows: list[PointRow]) -> None:
    """Insert points; one that is there already, by (run, name, step), stays as it is."""
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(INSERT_SQLITE, rows)
        return
    columns = [list(column) for column in zip(*rows, strict=True)]
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        cursor.execute(INSERT_POSTGRESQL, columns)


def raise_last(session: Session, rows: Sequence[LastRow]) -> None:
    """Move the last points forward, and note where a batch went back behind them."""
    if not rows:
        return
    make = sqlite.insert if session.connection().dialect.name == "sqlite" else postgresql.insert
    statement = make(metric_last)
    new, old = statement.excluded, metric_last.c
    is_later = new.step > old.step
    goes_back = new.rewound_step <= old.step
    upsert = statement.on_conflict_do_update(
        index_elements=["run_key", "name_id"],
        set_={
            "step": case((is_later, new.step), else_=old.step),
            "value": case((is_later, new.value), else_=old.value),
            "time": case((is_later, new.time), else_=old.time),
            "rewinds": case((goes_back, old.rewinds + 1), else_=old.rewinds),
            "rewound_step": case((goes_back, new.rewound_step), else_=old.rewound_step),
        },
    )
    # In one order, so that the writers of two replicas never wait for each other in a circle.
    values = [
        {"run_key": r.run_key, "name_id": r.name_id, "step": r.step, "value": r.value, "time": r.time, "rewinds": 0,
         "rewound_step": r.low_step}
        for r in sorted(rows, key=lambda r: (r.run_key, r.name_id))
    ]  # fmt: skip
    session.execute(upsert, values)


def cursors(session: Session, run_key: int) -> list[Cursor]:
    """Return how far each metric of a run has come."""
    last = metric_last.c
    query = select(last.name_id, names.c.name, last.step, last.rewinds, last.rewound_step)
    query = query.join(names, names.c.id == last.name_id).where(last.run_key == run_key)
    return [Cursor(*row) for row in session.execute(query.order_by(names.c.name))]


def count_points(session: Session, run_key: int, name_id: int, after_step: int | None) -> int:
    """Return how many points of a metric lie behind a step (None: how many there are)."""
    return session.scalar(select(func.count()).where(_points_of(run_key, name_id, after_step))) or 0


def read_points(session: Session, run_key: int, cursor: Cursor, after_step: int | None) -> Iterator[Point]:
    """Yield the points of a metric behind a step (None: all), in the order of steps, without holding them all."""
    point = metric_points.c
    query = select(point.step, point.value, point.time).where(_points_of(run_key, cursor.name_id, after_step))
    for step, value, time in session.execute(query.order_by(point.step).execution_options(yield_per=5000)):
        yield Point(cursor.key, step, math.nan if value is None else value, time)


def _points_of(run_key: int, name_id: int, after_step: int | None) -> ColumnElement[bool]:
    point = metric_points.c
    metric = and_(point.run_key == run_key, point.name_id == name_id)
    return metric if after_step is None else and_(metric, point.step > after_step)

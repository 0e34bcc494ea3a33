"""Names of metrics, parameters and tags as small numbers."""

from collections.abc import Iterable

from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.train_svc.models.tables import names

Name = tuple[str, str, str]
"""Project, kind (metric, param, tag), name."""


def find_name(session: Session, project: str, kind: str, name: str) -> int | None:
    """Return the number of a name, or None if nothing was ever logged under it."""
    where = (names.c.project == project, names.c.kind == kind, names.c.name == name)
    return session.scalar(select(names.c.id).where(*where))


def intern_names(session: Session, wanted: Iterable[Name]) -> dict[Name, int]:
    """Return the numbers of names, giving numbers to new ones."""
    found: dict[Name, int] = {}
    # In one order, so that two writers never wait for each other in a circle.
    for name in sorted(set(wanted)):
        known = find_name(session, *name)
        found[name] = known if known is not None else _add(session, name)
    return found


def _add(session: Session, name: Name) -> int:
    dialect = session.get_bind().dialect.name
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    values = dict(zip(("project", "kind", "name"), name, strict=True))
    session.execute(make(names).values(**values).on_conflict_do_nothing())
    number = find_name(session, *name)
    assert number is not None, f"{insert(names)} left no {name}"
    return number

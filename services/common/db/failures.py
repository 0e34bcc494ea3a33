"""What a database's failures mean to a caller."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

from services.common.errors import StorageFullError, UnavailableError

FULL = ("disk is full", "disk full", "no space left", "database or disk is full", "disk I/O error")
DAMAGED = ("file is not a database", "disk image is malformed", "malformed database schema")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise domain errors for a database that is full, damaged, away or busy; `where` names it."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
        if any(sign in reason for sign in FULL):
            raise StorageFullError(f"the database {where} has no room left ({reason}); free some space") from error
        if any(sign in reason for sign in DAMAGED):
            raise UnavailableError(
                f"the database {where} is damaged ({reason}); restore it from a backup, or move it away to begin anew"
            ) from error
        if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
            raise UnavailableError(f"the database {where} does not answer ({reason}); try again shortly") from error
        raise
    except TimeoutError as error:
        raise UnavailableError(f"the database {where} has no free connection; try again shortly") from error

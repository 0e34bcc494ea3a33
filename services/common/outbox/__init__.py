"""A non-blocking, disk-backed, batching sender."""

from services.common.outbox.outbox import Entry, Outbox
from services.common.outbox.refused import read_refused

__all__ = ["Entry", "Outbox", "read_refused"]

"""Batches made ahead, while the one before them is learnt from."""

import threading
from types import TracebackType
from typing import Self

from services.train_svc.engine.batch import Batch, Source


class Prefetched:
    """A source that makes the next batches in a thread of its own. Close it, or use it as a context manager.

    Only that thread asks the source behind it for batches, so that one need not be safe for several. An error is
    raised where its batch is asked for; asking again tries again.

    Args:
        source: whose batches.
        depth: how many are made ahead, 1 or more; each takes its memory on the host.
    """

    def __init__(self, source: Source, depth: int = 2) -> None:
        self._source = source
        self._depth = max(1, depth)
        # Asked for before there is a thread: an iterable may be gone through for them.
        self._digest, self._steps_per_epoch = source.digest, source.steps_per_epoch
        self._changed = threading.Condition()
        self._made: dict[int, Batch | BaseException] = {}
        self._wanted: range = range(0)
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def digest(self) -> str:
        """Name of what is behind it."""
        return self._digest

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._steps_per_epoch

    def at(self, step: int) -> Batch:
        """Return the batch of a step; the next ones are being made from then on.

        Raises:
            RuntimeError: it is closed.
            BaseException: what the source raised for this batch.
        """
        with self._changed:
            self._start()
            self._want(range(step, step + self._depth))
            self._changed.wait_for(lambda: step in self._made or self._closed)
            if self._closed:
                raise RuntimeError("the source was closed; make a new one")
            found = self._made.pop(step)
            if isinstance(found, BaseException):
                self._want(range(0))
                raise found
            self._want(range(step + 1, step + 1 + self._depth))
            return found

    def close(self) -> None:
        """End the thread, once the batch that it is making is made. It may be called again."""
        with self._changed:
            self._closed = True
            self._made.clear()
            self._changed.notify_all()
        if self._thread:
            self._thread.join()

    def rest(self) -> None:
        """End the thread as `close` does; asked for a batch again, it starts another."""
        self.close()
        with self._changed:
            self._closed, self._thread, self._wanted = False, None, range(0)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._make_all, name="prefetch", daemon=True)
            self._thread.start()

    def _want(self, steps: range) -> None:
        self._wanted = steps
        self._made = {step: found for step, found in self._made.items() if step in steps}
        self._changed.notify_all()

    def _next(self) -> int | None:
        return next((step for step in self._wanted if step not in self._made), None)

    def _make_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                step = self._next()
                if self._closed or step is None:
                    return
            found = self._make(step)
            with self._changed:
                # What nobody waits for any more, after a jump, is let go.
                if step in self._wanted and not self._closed:
                    self._made[step] = found
                    self._changed.notify_all()

    def _make(self, step: int) -> Batch | BaseException:
        try:
            return self._source.at(step)
        except BaseException as error:  # It belongs to whoever asks for the batch.
            return error

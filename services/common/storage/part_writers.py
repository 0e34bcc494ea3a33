"""Writers of resumable uploads: for asyncio (the gateway) and for threads (gRPC servers)."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from services.common.errors import ModelwrightError
from services.common.storage.parts import PARALLEL_PUTS, Part, PartCutter, put_part
from services.common.storage.store import Buffer, Storage

Record = Callable[[int, int, str], object]
"""Notes a stored part: offset, size in bytes, digest. Called in order, without gaps."""
AsyncRecord = Callable[[int, int, str], Awaitable[object]]
"""The same for asyncio."""


async def write_parts(
    storage: Storage,
    upload_id: str,
    offset: int,
    chunks: AsyncIterable[Buffer],
    record: AsyncRecord,
    *,
    executor: Executor | None = None,
) -> int:
    """Store the chunks from byte `offset` on as parts and return the offset reached.

    Up to PARALLEL_PUTS parts travel at once, in threads of `executor` (None: the loop's own); each is
    recorded after it is stored. If `chunks` breaks, what had arrived is kept as a last, shorter part
    before the error goes on. If the storage or `record` fails, what was recorded before stays.
    """
    window = _AsyncWindow(storage, upload_id, record, executor)
    cutter, source = PartCutter(offset), aiter(chunks)
    try:
        while True:
            try:
                chunk = await anext(source)
            except StopAsyncIteration:
                break
            except BaseException:
                await window.submit(cutter.rest())
                await window.record_all()
                raise
            await window.submit(cutter.feed(chunk))
        await window.submit(cutter.rest())
        await window.record_all()
    except asyncio.CancelledError:
        with contextlib.suppress(ModelwrightError):
            await window.record_all()
        raise
    finally:
        await window.settle()
    return cutter.offset


def write_parts_sync(storage: Storage, upload_id: str, offset: int, chunks: Iterable[Buffer], record: Record) -> int:
    """Do as `write_parts` does, in the calling thread and PARALLEL_PUTS threads of its own."""
    cutter, source = PartCutter(offset), iter(chunks)
    with ThreadPoolExecutor(PARALLEL_PUTS, thread_name_prefix="upload-part") as pool:
        window = _Window(storage, upload_id, record, pool)
        while True:
            try:
                chunk = next(source)
            except StopIteration:
                break
            except BaseException:
                window.submit(cutter.rest())
                window.record_all()
                raise
            window.submit(cutter.feed(chunk))
        window.submit(cutter.rest())
        window.record_all()
    return cutter.offset


class _AsyncWindow:
    """The parts on their way, oldest first."""

    def __init__(self, storage: Storage, upload_id: str, record: AsyncRecord, executor: Executor | None) -> None:
        self._target = (storage, upload_id)
        self._record = record
        self._executor = executor
        self._running: deque[asyncio.Future[Part]] = deque()

    async def submit(self, parts: Iterable[tuple[int, Buffer]]) -> None:
        """Send parts off, waiting for the oldest while the window is full, and record those that are stored."""
        loop = asyncio.get_running_loop()
        for start, data in parts:
            while len(self._running) >= PARALLEL_PUTS:
                await self._record_oldest()
            self._running.append(loop.run_in_executor(self._executor, put_part, *self._target, start, data))
        while self._running and self._running[0].done():
            await self._record_oldest()

    async def record_all(self) -> None:
        while self._running:
            await self._record_oldest()

    async def settle(self) -> None:
        """Wait for what still travels; its results no longer count."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _record_oldest(self) -> None:
        part = await asyncio.shield(self._running[0])
        self._running.popleft()
        await self._record(part.offset, part.size, part.digest)


class _Window:
    """The same with threads."""

    def __init__(self, storage: Storage, upload_id: str, record: Record, pool: Executor) -> None:
        self._target = (storage, upload_id)
        self._record = record
        self._pool = pool
        self._running: deque[Future[Part]] = deque()

    def submit(self, parts: Iterable[tuple[int, Buffer]]) -> None:
        for start, data in parts:
            while len(self._running) >= PARALLEL_PUTS:
                self._record_oldest()
            self._running.append(self._pool.submit(put_part, *self._target, start, data))
        while self._running and self._running[0].done():
            self._record_oldest()

    def record_all(self) -> None:
        while self._running:
            self._record_oldest()

    def _record_oldest(self) -> None:
        part = self._running[0].result()
        self._running.popleft()
        self._record(part.offset, part.size, part.digest)

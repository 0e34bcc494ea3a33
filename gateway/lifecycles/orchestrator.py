"""All lifecycles under way: starts them, takes them up again after a restart, stops them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from gateway.lifecycles import repository
from gateway.lifecycles.runner import Runner
from gateway.lifecycles.spec import LifecycleSpec
from gateway.models import Lifecycle
from gateway.upstream import Upstream
from services.common.db import Database

T = TypeVar("T")

log = logging.getLogger("modelwright.lifecycles")


class Orchestrator:
    """Keeps one task a running lifecycle.

    Args:
        database: the gateway's own.
        upstream: the services.
        changed: called with a lifecycle's id after each change of it.
        limit: lifecycles that run at once.
        deploy_timeout_s: how long a serve stage waits to be ready.
    """

    def __init__(
        self,
        database: Database,
        upstream: Upstream,
        changed: Callable[[str], None],
        *,
        limit: int,
        deploy_timeout_s: float,
    ) -> None:
        self._database = database
        self._upstream = upstream
        self._changed = changed
        self._limit = limit
        self._deploy_timeout_s = deploy_timeout_s
        self._runners: dict[str, tuple[Runner, asyncio.Task[None]]] = {}

    async def resume(self) -> None:
        """Take up what was under way when the gateway stopped."""
        for lifecycle_id in await self._read(repository.running_ids):
            log.info("lifecycle %s goes on", lifecycle_id)
            self._start(lifecycle_id)

    async def submit(self, spec: LifecycleSpec, actor: str) -> tuple[Lifecycle, bool]:
        """Return the lifecycle that carries `spec` out, and whether this call began it."""
        row, created = await self._write(
            lambda session: repository.create(session, spec, actor=actor, limit=self._limit)
        )
        if created:
            self._start(row.id)
        return row, created

    async def cancel(self, project: str, lifecycle_id: str) -> Lifecycle:
        """Stop a lifecycle and the job it waits for; what it made so far stays."""
        row: Lifecycle = await self._write(lambda session: repository.request_cancel(session, project, lifecycle_id))
        runner, task = self._runners.get(lifecycle_id, (None, None))
        if runner and task:
            runner.cancel.set()
            await asyncio.wait((task,), timeout=10)
        return await self.get(project, row.id)

    async def restart(self, project: str, lifecycle_id: str, from_stage: str) -> Lifecycle:
        """Run a lifecycle that has ended again, from the named stage or from the first without a result."""
        row: Lifecycle = await self._write(
            lambda session: repository.restart(session, project, lifecycle_id, from_stage, self._limit)
        )
        self._start(row.id)
        return row

    async def get(self, project: str, lifecycle_id: str) -> Lifecycle:
        """Return a lifecycle with its stages."""
        return await self._read(lambda session: repository.get(session, project, lifecycle_id))

    async def page(self, project: str, page_size: int, page_token: str) -> tuple[list[Lifecycle], str]:
        """Return lifecycles, newest first, and the next page's token; an empty project means all."""
        return await self._read(
            lambda session: repository.page(session, project, page_size=page_size, page_token=page_token)
        )

    def live(self, lifecycle_id: str) -> dict[str, dict[str, Any]]:
        """Return what the stages of a running lifecycle say of themselves."""
        found = self._runners.get(lifecycle_id)
        return dict(found[0].live) if found else {}

    async def close(self) -> None:
        """Leave everything as the database has it; the next start goes on from there."""
        tasks = [task for _, task in self._runners.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, lifecycle_id: str) -> None:
        runner = Runner(
            lifecycle_id=lifecycle_id,
            database=self._database,
            upstream=self._upstream,
            changed=lambda: self._changed(lifecycle_id),
            deploy_timeout_s=self._deploy_timeout_s,
        )
        task = asyncio.create_task(runner.run(), name=f"lifecycle {lifecycle_id}")
        self._runners[lifecycle_id] = (runner, task)
        task.add_done_callback(lambda done: self._ended(lifecycle_id, done))

    def _ended(self, lifecycle_id: str, task: asyncio.Task[None]) -> None:
        found = self._runners.get(lifecycle_id)
        if found and found[1] is task:
            del self._runners[lifecycle_id]
        if not task.cancelled() and task.exception():
            log.error("lifecycle %s stopped and goes on at the next start: %s", lifecycle_id, task.exception())
        self._changed(lifecycle_id)

    async def _read(self, find: Callable[[Session], T]) -> T:
        def carry_out() -> T:
            with self._database.read() as session:
                found = find(session)
                session.expunge_all()  # What was read stays readable once the session has ended.
                return found

        return await asyncio.to_thread(carry_out)

    async def _write(self, change: Callable[[Session], T]) -> T:
        def carry_out() -> T:
            with self._database.write() as session:
                return change(session)

        return await asyncio.to_thread(carry_out)

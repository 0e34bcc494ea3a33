"""Carries one lifecycle from its first unfinished stage to its end."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import orjson
from sqlalchemy.orm import Session

from gateway.lifecycles import repository
from gateway.lifecycles.document import Document
from gateway.lifecycles.frame import read_frame
from gateway.lifecycles.serving import ServeStage
from gateway.lifecycles.spec import LifecycleSpec
from gateway.lifecycles.stages import CompressStage, DataStage, GateStage, StageWork, TrainStage
from gateway.lifecycles.states import CANCELLED, DONE, FAILED, REUSED, SUCCEEDED
from gateway.lifecycles.work import LifecycleCancelledError, Work
from gateway.models import Lifecycle, Stage
from gateway.upstream import JOB_SERVICES, Upstream
from proto.gen.modelwright.common.v1 import job_pb2
from services.common.db import Database
from services.common.digest import digest_json
from services.common.errors import ModelwrightError, UnavailableError
from services.common.rpc import acall

T = TypeVar("T")

log = logging.getLogger("modelwright.lifecycles")

DATABASE_PATIENCE_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)

STAGE_WORK: dict[str, StageWork] = {
    "data": DataStage(),
    "train": TrainStage(),
    "compress": CompressStage(),
    "gate": GateStage(),
    "serve": ServeStage(),
}


@dataclass(kw_only=True)
class Runner:
    """One lifecycle under way. Everything it must not forget is in the database."""

    lifecycle_id: str
    database: Database
    upstream: Upstream
    changed: Callable[[], None]
    """Called after each change that watchers shall see."""
    deploy_timeout_s: float
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    live: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What stages say of themselves while they run, by stage; lost with the process and no loss."""

    async def run(self) -> None:
        """Run to the end and note how it ended; a fault of ours becomes the lifecycle's error too."""
        row = await self._read(partial(repository.get, project="", lifecycle_id=self.lifecycle_id))
        if row.cancel_requested:
            self.cancel.set()
        stage = "data"
        try:
            results: dict[str, dict[str, Any]] = {}
            spec = spec_of(row)
            for one in row.stages:
                stage = one.name
                results[stage] = (
                    orjson.loads(one.result) if one.state in DONE else await self._stage(spec, row, one, results)
                )
            await self._write(partial(repository.end, lifecycle_id=self.lifecycle_id, state=SUCCEEDED))
        except LifecycleCancelledError:
            await self._cancelled(stage)
        except ModelwrightError as error:
            await self._failed(stage, error.message)
        except Exception as error:
            log.error("lifecycle %s, stage %s:\n%s", self.lifecycle_id, stage, traceback.format_exc())
            await self._failed(stage, f"internal error in the gateway ({type(error).__name__}); its log has more")

    async def _stage(
        self, spec: LifecycleSpec, row: Lifecycle, one: Stage, results: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        work = self._work(spec, row, one, results)
        carry = STAGE_WORK[one.name]
        work.check_cancelled()
        await self._write(
            lambda session: repository.begin_stage(session, self.lifecycle_id, one.name, one.input_digest)
        )
        digest = digest_json({"stage": one.name, "inputs": await carry.inputs(work)})
        await self._write(lambda session: repository.begin_stage(session, self.lifecycle_id, one.name, digest))
        kept = None if one.fresh or one.job_id else await self._kept(spec.project, one.name, digest)
        if kept is not None and await carry.holds(work, kept):
            result, state = kept, REUSED
        else:
            result, state = await carry.run(work), SUCCEEDED
        self.live.pop(one.name, None)
        await self._write(
            lambda session: repository.end_stage(session, self.lifecycle_id, one.name, state, result=result)
        )
        return result

    def _work(self, spec: LifecycleSpec, row: Lifecycle, one: Stage, results: dict[str, dict[str, Any]]) -> Work:
        async def note(job_id: str) -> None:
            await self._write(lambda session: repository.note_job(session, self.lifecycle_id, one.name, job_id))

        return Work(
            spec=spec,
            lifecycle_id=self.lifecycle_id,
            stage=one.name,
            attempt=one.attempt,
            actor=row.actor,
            results=results,
            upstream=self.upstream,
            cancel=self.cancel,
            note_job=note,
            report=partial(self._report, one.name),
            job_id=one.job_id,
            deploy_timeout_s=self.deploy_timeout_s,
        )

    async def _cancelled(self, stage: str) -> None:
        job_id = (await self._read(partial(repository.stage, lifecycle_id=self.lifecycle_id, name=stage))).job_id
        if job_id and stage in JOB_SERVICES:
            try:
                await acall(self.upstream.jobs[stage].CancelJob, job_pb2.CancelJobRequest(id=job_id))
            except ModelwrightError as error:
                log.warning("job %s of cancelled lifecycle %s: %s", job_id, self.lifecycle_id, error.message)
        await self._write(partial(repository.end, lifecycle_id=self.lifecycle_id, state=CANCELLED, error="cancelled"))

    async def _failed(self, stage: str, message: str) -> None:
        def fail(session: Session) -> None:
            repository.end_stage(session, self.lifecycle_id, stage, FAILED, error=message)
            repository.end(session, self.lifecycle_id, FAILED, f"{stage}: {message}")

        self.live.pop(stage, None)
        await self._write(fail)

    def _report(self, stage: str, news: dict[str, Any]) -> None:
        self.live[stage] = {**self.live.get(stage, {}), **({"message": ""} if "job" in news else {}), **news}
        self.changed()

    async def _kept(self, project: str, stage: str, digest: str) -> dict[str, Any] | None:
        return await self._read(partial(repository.kept_result, project=project, name=stage, input_digest=digest))

    async def _read(self, find: Callable[[Session], T]) -> T:
        def carry_out() -> T:
            with self.database.read() as session:
                found = find(session)
                session.expunge_all()  # What was read stays readable once the session has ended.
                return found

        return await self._patiently(carry_out)

    async def _write(self, change: Callable[[Session], Any]) -> None:
        def carry_out() -> None:
            with self.database.write() as session:
                change(session)

        await self._patiently(carry_out)
        self.changed()

    async def _patiently(self, carry_out: Callable[[], T]) -> T:
        """Wait while the database is away: a lifecycle of hours shall not end for a restart of it."""
        for pause_s in DATABASE_PATIENCE_S:
            try:
                return await asyncio.to_thread(carry_out)
            except UnavailableError as error:
                log.warning("lifecycle %s waits: %s", self.lifecycle_id, error.message)
                await asyncio.sleep(pause_s)
        return await asyncio.to_thread(carry_out)


def spec_of(row: Lifecycle) -> LifecycleSpec:
    """Return what a kept lifecycle asks for."""
    return read_frame(Document(value=orjson.loads(row.document)), row.project, with_source=True)

"""What a stage has at hand while it runs: earlier results, the services, patience, and the cancel."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from gateway.lifecycles.spec import LifecycleSpec
from gateway.translate import to_value
from gateway.upstream import Upstream
from proto.gen.modelwright.common.v1 import job_pb2
from services.common.errors import BusyError, ModelwrightError, NotFoundError, UnavailableError
from services.common.rpc import acall, astream

T = TypeVar("T")

PATIENCE_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses between tries while a service is away; the last one repeats."""
BRIEF = (
    "id", "subject", "state", "progress", "eta_s", "message", "queue_position", "waiting_reason", "attempt", "worker"
)  # fmt: skip
"""What a lifecycle shows of a stage's job."""
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


class StageFailedError(ModelwrightError):
    """A stage cannot go on; the lifecycle stops with this message."""

    code = "stage_failed"
    title = "Stage failed"


class LifecycleCancelledError(ModelwrightError):
    """The lifecycle was asked to stop."""

    code = "cancelled"
    title = "Cancelled"


@dataclass(kw_only=True)
class Work:
    """One stage's surroundings."""

    spec: LifecycleSpec
    lifecycle_id: str
    stage: str
    attempt: int
    actor: str
    results: dict[str, dict[str, Any]]
    """Of the stages before, by name."""
    upstream: Upstream
    cancel: asyncio.Event
    """Set when the lifecycle shall stop."""
    note_job: Callable[[str], Awaitable[None]]
    """Keeps the id of the job that carries the stage out."""
    report: Callable[[dict[str, Any]], None]
    """Shows those who watch how far the stage is."""
    job_id: str = ""
    """The job of this attempt, if one was submitted before the gateway was restarted."""
    deploy_timeout_s: float = 300.0

    @property
    def key(self) -> str:
        """Idempotency key of what the stage submits: the same after a restart of the gateway."""
        return f"{self.lifecycle_id}:{self.stage}:{self.attempt}"

    async def call(self, method: Any, request: Message) -> Any:  # noqa: ANN401 - as generated stubs are typed
        """Call a service, waiting for as long as it is away or busy.

        Raises:
            LifecycleCancelledError: the lifecycle was cancelled meanwhile.
            ModelwrightError: what the service refused.
        """
        for pause in _pauses():
            self.check_cancelled()
            try:
                return await acall(method, request)
            except (UnavailableError, BusyError) as error:
                self.report({"message": f"waiting: {error.message}"})
            await self.sleep(pause)
        raise AssertionError("pauses never end")

    async def exists(self, method: Any, request: Message) -> Any:  # noqa: ANN401 - as generated stubs are typed
        """Return a service's answer, or None if there is no such thing."""
        try:
            return await self.call(method, request)
        except NotFoundError:
            return None

    async def follow(self, service: str, submit: Callable[[], Awaitable[job_pb2.Job]]) -> dict[str, Any]:
        """Submit a job once, wait for its end, and return its result.

        Raises:
            StageFailedError: it failed or was cancelled; the message has its reason and its log's address.
        """
        if not self.job_id:
            self.job_id = (await submit()).id
            await self.note_job(self.job_id)
        job = await self._watched(service)
        shown = to_value(job)
        if job.state == job_pb2.JOB_STATE_SUCCEEDED:
            return shown["result"] if isinstance(shown["result"], dict) else {}
        log = f"its log: modelwright logs {job.id}, or /api/v1/projects/{job.project}/jobs/{job.id}/log"
        if job.state == job_pb2.JOB_STATE_CANCELLED:
            raise StageFailedError(
                f"job {job.id} was cancelled by itself, not with the lifecycle; restart from the "
                f"stage to run it again ({log})"
            )
        raise StageFailedError(f"{job.error or 'the job failed without a reason'} ({log})")

    async def until_cancelled(self, wanted: Awaitable[T]) -> T:
        """Return what `wanted` gives, unless the lifecycle is cancelled first."""
        task, stop = asyncio.ensure_future(wanted), asyncio.ensure_future(self.cancel.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise LifecycleCancelledError("cancelled")
        finally:
            for one in (task, stop):
                one.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def sleep(self, seconds: float) -> None:
        """Wait, or stop at once when the lifecycle is cancelled."""
        await self.until_cancelled(asyncio.sleep(seconds))

    def check_cancelled(self) -> None:
        """Raise LifecycleCancelledError if the lifecycle shall stop."""
        if self.cancel.is_set():
            raise LifecycleCancelledError("cancelled")

    async def watch(self, method: Any, request: Message) -> AsyncGenerator[Any, None]:  # noqa: ANN401 - generated stubs
        """Yield a stream's answers, opening it again whenever it breaks; ends only by the caller leaving."""
        pauses = _pauses()
        while True:
            try:
                async for answer in astream(method, request):
                    pauses = _pauses()
                    yield answer
            except (UnavailableError, BusyError) as error:
                self.report({"message": f"waiting: {error.message}"})
            await self.sleep(next(pauses))

    async def _watched(self, service: str) -> job_pb2.Job:
        return await self.until_cancelled(self._ended(service))

    async def _ended(self, service: str) -> job_pb2.Job:
        method = self.upstream.jobs[service].WatchJob
        answers = self.watch(method, job_pb2.WatchJobRequest(id=self.job_id))
        try:
            async for answer in answers:
                self.report({"job": _brief(answer.job)})
                if answer.job.state in ENDED:
                    job: job_pb2.Job = answer.job
                    return job
        finally:
            await answers.aclose()
        raise AssertionError("a watch ends only by its caller leaving")


def _pauses() -> Any:  # noqa: ANN401 - an endless iterator of floats
    yield from PATIENCE_S
    while True:
        yield PATIENCE_S[-1]


def _brief(job: job_pb2.Job) -> dict[str, Any]:
    shown = to_value(job)
    return {key: shown[key] for key in BRIEF}

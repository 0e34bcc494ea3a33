"""Jobs: every long task of every service, live."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response

from gateway.answers import answer, page, router
from gateway.context import Here
from gateway.events import Event, Subject
from gateway.parameters import INT64_MAX, IdPath, Page, Project, TextQuery
from gateway.schemas import COMPONENTS, STREAM, fields, gives, problems
from gateway.translate import to_value
from proto.gen.modelwright.common.v1 import job_pb2
from services.common.rpc import acall, astream

routes = router("jobs", "/jobs")

JOB = gives(COMPONENTS.ref(job_pb2.Job), "The job.")
STREAM_TYPE = "text/event-stream"
LINES = fields({"lines": {"type": "array", "items": COMPONENTS.ref(job_pb2.LogLine)}})
LOG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The lines; as an event stream, `line` events, then `end`.",
        "content": {"application/json": {"schema": LINES}, STREAM_TYPE: {"schema": {"type": "string"}}},
    }
}
KEPT_STATES = 4
KEPT_LINES = 5000
MAX_LINES = 10_000
"""Lines in one JSON answer; more are asked for with `after_seq`."""

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
STATES = {name.removeprefix("JOB_STATE_").lower(): number for name, number in job_pb2.JobState.items()}


@routes.get(
    "",
    summary="List jobs",
    responses=gives(COMPONENTS.page("jobs", job_pb2.Job), "A page of jobs, newest first.") | problems(),
)
async def list_jobs(
    project: Project,
    here: Here,
    paging: Page,
    state: Annotated[list[State] | None, Query(max_length=5)] = None,
    subject: TextQuery = "",
) -> Response:
    """Return jobs of all services, narrowed by state and by what they work on."""
    states = [STATES[one] for one in state or []]
    found, token = await here.jobs.page(project, states, subject, paging.page_size, paging.page_token)
    return page("jobs", found, token)


@routes.get("/{job_id}", summary="Get a job", responses=JOB | problems(404))
async def get_job(project: Project, job_id: IdPath, here: Here) -> Response:
    """Return a job: how far it is, or why it waits."""
    job, _ = await here.jobs.find(project, job_id)
    return answer(job)


@routes.post("/{job_id}:cancel", summary="Cancel a job", responses=JOB | problems(404, 409))
async def cancel_job(project: Project, job_id: IdPath, here: Here) -> Response:
    """End a queued job; ask a running one to checkpoint and leave."""
    _, jobs = await here.jobs.find(project, job_id)
    return answer((await acall(jobs.CancelJob, job_pb2.CancelJobRequest(id=job_id))).job)


@routes.post("/{job_id}:preempt", summary="Preempt a job", responses=JOB | problems(404, 409))
async def preempt_job(project: Project, job_id: IdPath, here: Here) -> Response:
    """Ask a running job to checkpoint, leave and queue again."""
    _, jobs = await here.jobs.find(project, job_id)
    return answer((await acall(jobs.PreemptJob, job_pb2.PreemptJobRequest(id=job_id))).job)


@routes.get("/{job_id}/events", summary="Watch a job", response_model=None, responses=STREAM | problems(404))
async def watch_job(project: Project, job_id: IdPath, request: Request, here: Here) -> Any:  # noqa: ANN401
    """Stream the job now and after each change, until it has ended."""
    _, jobs = await here.jobs.find(project, job_id)

    async def source(_: int) -> AsyncIterator[Event]:
        async for found in astream(jobs.WatchJob, job_pb2.WatchJobRequest(id=job_id)):
            yield Event(name="change", data=to_value(found.job), is_state=True)

    return here.hub.stream(request, f"job {job_id}", lambda: Subject(source, keep=KEPT_STATES, states_only=True))


@routes.get(
    "/{job_id}/log",
    summary="Read a log",
    response_model=None,
    responses=problems(404) | LOG,
)
async def read_log(
    *,
    project: Project,
    job_id: IdPath,
    request: Request,
    here: Here,
    after_seq: Annotated[int, Query(ge=0, le=INT64_MAX, description="Lines behind this number.")] = 0,
    follow: bool = False,
) -> Any:  # noqa: ANN401 - JSON or a stream
    """Return the log. With `Accept: text/event-stream` it is streamed; with `follow`, until the job has ended."""
    _, jobs = await here.jobs.find(project, job_id)
    read = _reader(jobs, job_id)
    if STREAM_TYPE not in request.headers.get("accept", ""):
        return answer({"lines": [event.data async for event in read(after_seq, False, MAX_LINES)]})
    return here.hub.stream(
        request,
        f"log {job_id} {follow}",
        lambda: Subject(lambda after: read(after, follow), keep=KEPT_LINES, after=after_seq),
        after=after_seq,
        backlog=lambda after: read(after, False),
    )


def _reader(jobs: Any, job_id: str) -> Callable[..., AsyncIterator[Event]]:  # noqa: ANN401 - a generated stub
    async def read(after: int, follow: bool, limit: int = 0) -> AsyncIterator[Event]:
        request = job_pb2.ReadLogRequest(id=job_id, after_seq=after, follow=follow)
        count = 0
        async for found in astream(jobs.ReadLog, request):
            for line in found.lines:
                yield Event(name="line", data=to_value(line), number=line.seq)
                count += 1
                if count == limit:
                    return

    return read

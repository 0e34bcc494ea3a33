"""Runs: ours and everybody else's."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from pydantic import Field

from gateway.answers import answer, page, router
from gateway.context import Here
from gateway.events import Event, Subject
from gateway.parameters import (
    INT32_MAX,
    INT64_MAX,
    Body,
    FileBody,
    IdPath,
    Int32,
    JsonObject,
    Line,
    OptionalDigest,
    OptionalName,
    Page,
    Project,
    Ref,
    Text,
    TextQuery,
    Words,
    check_paths,
    json_text,
)
from gateway.routers.keys import submission_key
from gateway.routers.resolve import dataset_digest
from gateway.schemas import COMPONENTS, NOTHING, STREAM, fields, gives, problems
from gateway.translate import to_value
from proto.gen.modelwright.common.v1 import file_pb2, job_pb2
from proto.gen.modelwright.train.v1 import run_pb2
from services.common.errors import ConflictError, NotFoundError
from services.common.rpc import acall, astream

routes = router("runs", "/runs")
actions = router("runs")

RUN = gives(COMPONENTS.ref(run_pb2.Run), "The run.")
RUN_AND_JOB = fields({"run": COMPONENTS.ref(run_pb2.Run), "job": COMPONENTS.ref(job_pb2.Job)})
KEPT_EVENTS = 2000
STATES = {
    "succeeded": run_pb2.RUN_STATE_SUCCEEDED,
    "failed": run_pb2.RUN_STATE_FAILED,
    "cancelled": run_pb2.RUN_STATE_CANCELLED,
}
ENDED = frozenset(STATES)


class NewRun(Body):
    """A run that somebody else's program carries out."""

    name: Line = ""
    params: Words = Field(default_factory=dict, examples=[{"lr": "0.001"}])
    tags: Words = Field(default_factory=dict)
    dataset_digest: OptionalDigest = ""
    code_version: Line = ""
    environment: JsonObject | None = None
    hardware: JsonObject | None = None


class Training(Body):
    """A training on our workers."""

    name: Line = ""
    spec: JsonObject = Field(examples=[{"model": "resnet_small", "epochs": 12}])
    dataset: Ref = Field(examples=["digits:1"])
    queue: OptionalName = ""
    priority: Int32 = 0


class Finish(Body):
    """How a run ended."""

    state: Literal["succeeded", "failed", "cancelled"] = "succeeded"
    error: Text = ""


@routes.post(
    "",
    status_code=201,
    summary="Create a run",
    responses=gives(COMPONENTS.ref(run_pb2.Run), "The run.", status=201) | problems(400, 409),
)
async def create_run(project: Project, body: NewRun, here: Here, request: Request) -> Response:
    """Make a run for a program that is not ours; it logs with `runs:log` and ends with `:finish`."""
    made = run_pb2.CreateRunRequest(
        project=project,
        name=body.name,
        params=body.params,
        tags=body.tags,
        dataset_digest=body.dataset_digest,
        code_version=body.code_version,
        environment_json=json_text(body.environment, "environment") if body.environment else "",
        hardware_json=json_text(body.hardware, "hardware") if body.hardware else "",
        idempotency_key=submission_key(request),
    )
    return answer((await acall(here.upstream.runs.CreateRun, made)).run, 201)


@actions.post(
    "/runs:train",
    status_code=202,
    summary="Train a model",
    responses=gives(RUN_AND_JOB, "The run and its job.", status=202) | problems(400, 404, 409),
)
async def train(project: Project, body: Training, here: Here, request: Request) -> Response:
    """Queue a training; the job's result has the model version's digest."""
    submitted = run_pb2.SubmitTrainingRequest(
        project=project,
        name=body.name,
        spec_json=json_text(body.spec, "spec"),
        dataset_digest=await dataset_digest(here, project, body.dataset),
        queue=body.queue,
        priority=body.priority,
        idempotency_key=submission_key(request),
    )
    return answer(await acall(here.upstream.runs.SubmitTraining, submitted), 202)


@routes.get(
    "",
    summary="Search runs",
    responses=gives(COMPONENTS.page("runs", run_pb2.Run), "A page of runs.") | problems(),
)
async def list_runs(
    project: Project,
    here: Here,
    paging: Page,
    filter: Annotated[TextQuery, Query(examples=["metrics.accuracy > 0.9 and params.lr = '0.001'"])] = "",
    order_by: Annotated[TextQuery, Query(examples=["metrics.accuracy desc"])] = "",
) -> Response:
    """Return runs, newest first unless `order_by` says otherwise."""
    wanted = run_pb2.ListRunsRequest(
        project=project,
        filter=filter,
        order_by=order_by,
        page_size=paging.page_size,
        page_token=paging.page_token,
    )
    found = await acall(here.upstream.runs.ListRuns, wanted)
    return page("runs", found.runs, found.next_page_token)


@routes.get("/{run_id}", summary="Get a run", responses=RUN | problems(404))
async def get_run(project: Project, run_id: IdPath, here: Here) -> Response:
    """Return the run with the last value of every metric."""
    return answer(await owned(here, project, run_id))


@routes.delete("/{run_id}", status_code=204, summary="Delete a run", responses=NOTHING | problems(404, 409))
async def delete_run(project: Project, run_id: IdPath, here: Here) -> Response:
    """Delete a run with its metrics; refused while it runs or a model came of it."""
    await owned(here, project, run_id)
    await acall(here.upstream.runs.DeleteRun, run_pb2.DeleteRunRequest(id=run_id))
    return Response(status_code=204)


@routes.post("/{run_id}:finish", summary="Finish a run", responses=RUN | problems(400, 404, 409))
async def finish_run(project: Project, run_id: IdPath, here: Here, body: Finish | None = None) -> Response:
    """End a run that somebody else's program carried out."""
    await owned(here, project, run_id)
    stated = body or Finish()
    ended = run_pb2.FinishRunRequest(id=run_id, state=STATES[stated.state], error=stated.error)
    return answer((await acall(here.upstream.runs.FinishRun, ended)).run)


@routes.post(
    "/{run_id}:resume",
    status_code=202,
    summary="Resume a run",
    responses=gives(RUN_AND_JOB, "The run and its new job.", status=202) | problems(404, 409),
)
async def resume_run(project: Project, run_id: IdPath, here: Here) -> Response:
    """Queue a job that goes on from the last checkpoint."""
    await owned(here, project, run_id)
    return answer(await acall(here.upstream.runs.ResumeRun, run_pb2.ResumeRunRequest(id=run_id)), 202)


@routes.post("/{run_id}:cancel", summary="Cancel a run", responses=RUN | problems(404, 409))
async def cancel_run(project: Project, run_id: IdPath, here: Here) -> Response:
    """Ask the run's job to checkpoint and leave."""
    run = await owned(here, project, run_id)
    if not run.job_id:
        raise ConflictError(f"run {run_id} has no job of ours: its own program carries it out; end it with :finish")
    await acall(here.upstream.jobs["train"].CancelJob, job_pb2.CancelJobRequest(id=run.job_id))
    return answer(await owned(here, project, run_id))


@routes.get(
    "/{run_id}/metrics",
    summary="Read metrics",
    responses=gives(COMPONENTS.ref(run_pb2.ReadMetricsResponse), "Series by metric.") | problems(404),
)
async def read_metrics(
    *,
    project: Project,
    run_id: IdPath,
    here: Here,
    key: Annotated[list[TextQuery] | None, Query(max_length=1000)] = None,
    after_step: Annotated[int, Query(ge=-INT64_MAX, le=INT64_MAX, description="0: from the very first.")] = 0,
    max_points: Annotated[int, Query(ge=0, le=INT32_MAX)] = 0,
) -> Response:
    """Return the points by metric and step, thinned to `max_points` a metric with the extremes kept."""
    await owned(here, project, run_id)
    wanted = run_pb2.ReadMetricsRequest(run_id=run_id, keys=key or [], after_step=after_step, max_points=max_points)
    return answer(await acall(here.upstream.runs.ReadMetrics, wanted))


@routes.get("/{run_id}/events", summary="Watch a run", response_model=None, responses=STREAM | problems(404))
async def watch_run(project: Project, run_id: IdPath, request: Request, here: Here) -> Any:  # noqa: ANN401
    """Stream `change` events `{run, points}` until the run has ended, then `end`; `reset` says: read again."""
    await owned(here, project, run_id)

    async def source(_: int) -> AsyncIterator[Event]:
        async for found in astream(here.upstream.runs.WatchRun, run_pb2.WatchRunRequest(run_id=run_id)):
            value = to_value(found)
            yield Event(name="change", data=value, is_state=value["run"] is not None)

    return here.hub.stream(request, f"run {run_id}", lambda: Subject(source, keep=KEPT_EVENTS))


@routes.get(
    "/{run_id}/checkpoints",
    summary="List checkpoints",
    responses=gives(COMPONENTS.ref(run_pb2.ListCheckpointsResponse), "Checkpoints, newest first.") | problems(404),
)
async def list_checkpoints(project: Project, run_id: IdPath, here: Here) -> Response:
    """Return what the run can go on from."""
    await owned(here, project, run_id)
    wanted = run_pb2.ListCheckpointsRequest(run_id=run_id)
    return answer(await acall(here.upstream.runs.ListCheckpoints, wanted))


@routes.get(
    "/{run_id}/artifacts",
    summary="List artifacts",
    responses=gives(COMPONENTS.ref(run_pb2.ListArtifactsResponse), "The files.") | problems(404),
)
async def list_artifacts(project: Project, run_id: IdPath, here: Here) -> Response:
    """Return the files that were kept with the run."""
    await owned(here, project, run_id)
    return answer(await acall(here.upstream.runs.ListArtifacts, run_pb2.ListArtifactsRequest(run_id=run_id)))


@routes.post(
    "/{run_id}/artifacts",
    status_code=204,
    summary="Record an artifact",
    responses=NOTHING | problems(400, 404, 409),
)
async def record_artifact(project: Project, run_id: IdPath, body: FileBody, here: Here) -> Response:
    """Keep a blob with the run under a path; put its bytes first."""
    check_paths([body.path], "path")
    await owned(here, project, run_id)
    file = file_pb2.File(path=body.path, digest=body.digest, size=body.size)
    await acall(here.upstream.runs.RecordArtifact, run_pb2.RecordArtifactRequest(run_id=run_id, file=file))
    return Response(status_code=204)


async def owned(here: Here, project: str, run_id: str) -> run_pb2.Run:
    """Return the run if it belongs to the project."""
    found = await acall(here.upstream.runs.GetRun, run_pb2.GetRunRequest(id=run_id))
    run: run_pb2.Run = found.run
    if run.project != project:
        raise NotFoundError(f"project {project!r} has no run {run_id!r}")
    return run

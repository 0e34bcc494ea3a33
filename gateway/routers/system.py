"""The system itself: health, metrics, workers, collection."""

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.answers import StrictRoute, answer
from gateway.context import Gateway, Here
from gateway.parameters import Body
from gateway.schemas import COMPONENTS, Schema, fields, gives, gives_bytes, problems
from gateway.translate import to_value
from gateway.upstream import JOB_SERVICES
from gateway.version import VERSION
from proto.gen.modelwright.common.v1 import job_pb2
from services.common.errors import ModelwrightError
from services.common.rpc import acall

routes = APIRouter(tags=["system"], route_class=StrictRoute)

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
HEALTH = fields(
    {
        "ready": FLAG,
        "services": {"type": "object", "additionalProperties": fields({"ready": FLAG, "reason": TEXT})},
    }
)
ACCOUNT = fields(
    {
        "dry_run": FLAG,
        "blobs": COUNT,
        "blob_bytes": COUNT,
        "referenced": COUNT,
        "unused": COUNT,
        "unused_bytes": COUNT,
        "deleted": COUNT,
        "deleted_bytes": COUNT,
        "digests": {"type": "array", "items": TEXT},
        "duration_s": {"type": "number"},
    }
)


class Collection(Body):
    """Whether blobs are really deleted."""

    dry_run: bool = True


@routes.get("/livez", summary="Live?", responses=gives(fields({"live": FLAG}), "The process answers."))
async def livez() -> Response:
    """Say that the process lives."""
    return answer({"live": True})


@routes.get(
    "/readyz",
    summary="Ready?",
    responses=gives(HEALTH, "Every service answers.") | gives(HEALTH, "Some service does not.", status=503),
)
async def readyz(here: Here) -> Response:
    """Say whether every service can be used, and why one cannot."""
    reasons = await health(here)
    ready = not any(reasons.values())
    services = {name: {"ready": not reason, "reason": reason} for name, reason in reasons.items()}
    return answer({"ready": ready, "services": services}, 200 if ready else 503)


@routes.get("/metrics", summary="Metrics", responses=gives_bytes("Metrics for Prometheus.", "text/plain") | problems())
async def metrics(here: Here) -> Response:
    """Return counters and durations in Prometheus's text form."""
    return Response(generate_latest(here.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


@routes.get(
    "/api/v1/workers",
    summary="List workers",
    responses=gives(
        fields({"workers": {"type": "array", "items": COMPONENTS.ref(job_pb2.Worker)}}), "Workers heard of lately."
    )
    | problems(),
)
async def list_workers(here: Here) -> Response:
    """Return the workers of every service, each once."""
    return answer({"workers": [to_value(worker) for worker in await workers(here)]})


@routes.get(
    "/api/v1/info",
    summary="Get info",
    responses=gives(
        fields({"name": TEXT, "version": TEXT, "services": {"type": "object", "additionalProperties": TEXT}}), "It."
    )
    | problems(),
)
async def info(here: Here) -> Response:
    """Return the version, and of each service `ready` or why it cannot be used."""
    services = {name: reason or "ready" for name, reason in (await health(here)).items()}
    return answer({"name": "modelwright", "version": VERSION, "services": services})


@routes.post(
    "/api/v1/gc",
    summary="Collect unused blobs",
    responses=gives(ACCOUNT, "What went, or with `dry_run` would go.") | problems(400),
)
async def collect(here: Here, body: Collection | None = None) -> Response:
    """Delete blobs that no service names. If one service does not answer, nothing is deleted."""
    return answer(await here.collector.collect(dry_run=body.dry_run if body else True))


async def health(here: Gateway) -> dict[str, str]:
    """Return for every service, and for the gateway's own database, why it cannot be used; empty where it can."""

    def ping() -> str:
        try:
            here.database.ping()
        except ModelwrightError as error:
            return error.message
        return ""

    reasons, own = await asyncio.gather(here.upstream.health(), asyncio.to_thread(ping))
    return {**reasons, "gateway": own}


async def workers(here: Gateway) -> list[job_pb2.Worker]:
    """Return the workers that the services which answer have heard of; of one known to several, the newest word."""
    calls = [
        acall(here.upstream.jobs[name].ListWorkers, job_pb2.ListWorkersRequest(), timeout_s=5, wait=False)
        for name in JOB_SERVICES
    ]
    found: dict[str, job_pb2.Worker] = {}
    answers = await asyncio.gather(*calls, return_exceptions=True)
    failures = [one for one in answers if isinstance(one, BaseException)]
    if len(failures) == len(answers):
        raise failures[0]
    for one in answers:
        if isinstance(one, BaseException):
            continue
        for worker in one.workers:
            known = found.get(worker.name)
            if known is None or known.seen_at.ToMicroseconds() < worker.seen_at.ToMicroseconds():
                found[worker.name] = worker
    return [found[name] for name in sorted(found)]

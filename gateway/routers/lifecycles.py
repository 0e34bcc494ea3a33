"""Lifecycles: a document posted, its stages watched, cancelled, restarted."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import Field

from gateway.answers import answer, router
from gateway.context import Actor, Here
from gateway.events import Event, Subject
from gateway.lifecycles.document import Document, parse_json, parse_yaml
from gateway.lifecycles.frame import read_frame
from gateway.lifecycles.states import ENDED
from gateway.lifecycles.validation import check_sections
from gateway.lifecycles.views import lifecycle_value
from gateway.models import Lifecycle
from gateway.parameters import Body, IdPath, Page, Project
from gateway.problems import MalformedError
from gateway.routers.lifecycle_schemas import CHECKED, DOCUMENT, LIFECYCLE, LIFECYCLES
from gateway.schemas import STREAM, gives, problems

routes = router("lifecycles", "/lifecycles")

KEPT_STATES = 4


class Restart(Body):
    """From where a lifecycle is run again."""

    from_stage: Annotated[str, Field(max_length=40, pattern=r"^[a-z]*$", examples=["train"])] = ""


@routes.post(
    "",
    status_code=202,
    summary="Apply a lifecycle",
    responses=gives(LIFECYCLE, "The lifecycle; if the same document runs already, that one.", status=202)
    | gives(CHECKED, "With `validate_only`: the document is sound.")
    | problems(400, 409),
    openapi_extra={"requestBody": DOCUMENT},
)
async def apply(
    project: Project,
    request: Request,
    here: Here,
    actor: Actor,
    validate_only: Annotated[bool, Query(description="Check the document, change nothing.")] = False,
) -> Response:
    """Check a document, every fault at its line, and carry it out from data to traffic."""
    spec = read_frame(await _document(request), project, with_source=validate_only)
    await check_sections(spec, here.upstream)
    if validate_only:
        stages = [{"name": name} for name in spec.stages]
        return answer({"valid": True, "name": spec.name, "spec_digest": spec.digest, "stages": stages})
    row, _ = await here.orchestrator.submit(spec, actor)
    return answer(_value(here, row), 202)


@routes.get("", summary="List lifecycles", responses=gives(LIFECYCLES, "A page, newest first.") | problems())
async def list_lifecycles(project: Project, here: Here, paging: Page) -> Response:
    """Return lifecycles with their stages."""
    rows, token = await here.orchestrator.page(project, paging.page_size, paging.page_token)
    return answer({"lifecycles": [_value(here, row) for row in rows], "next_page_token": token})


@routes.get("/{lifecycle_id}", summary="Get a lifecycle", responses=gives(LIFECYCLE, "It.") | problems(404))
async def get_lifecycle(project: Project, lifecycle_id: IdPath, here: Here) -> Response:
    """Return a lifecycle: how far each stage is, and what it gave."""
    return answer(_value(here, await here.orchestrator.get(project, lifecycle_id)))


@routes.get(
    "/{lifecycle_id}/events", summary="Watch a lifecycle", response_model=None, responses=STREAM | problems(404)
)
async def watch_lifecycle(project: Project, lifecycle_id: IdPath, request: Request, here: Here) -> Any:  # noqa: ANN401
    """Stream the lifecycle now and after each change, until it has ended."""
    await here.orchestrator.get(project, lifecycle_id)

    async def source(_: int) -> AsyncIterator[Event]:
        with here.changes.watch(lifecycle_id) as changes:
            while True:
                row = await here.orchestrator.get(project, lifecycle_id)
                yield Event(name="change", data=_value(here, row), is_state=True)
                if row.state in ENDED:
                    return
                await changes.wait()

    key = f"lifecycle {lifecycle_id}"
    return here.hub.stream(request, key, lambda: Subject(source, keep=KEPT_STATES, states_only=True))


@routes.post(
    "/{lifecycle_id}:cancel", summary="Cancel a lifecycle", responses=gives(LIFECYCLE, "It.") | problems(404, 409)
)
async def cancel_lifecycle(project: Project, lifecycle_id: IdPath, here: Here) -> Response:
    """Stop a lifecycle and the job it waits for; what it made so far stays."""
    return answer(_value(here, await here.orchestrator.cancel(project, lifecycle_id)))


@routes.post(
    "/{lifecycle_id}:restart",
    status_code=202,
    summary="Restart a lifecycle",
    responses=gives(LIFECYCLE, "It, running.", status=202) | problems(400, 404, 409),
)
async def restart_lifecycle(
    project: Project, lifecycle_id: IdPath, here: Here, body: Restart | None = None
) -> Response:
    """Run a lifecycle that has ended again, from a stage; without one, from the first that has no result."""
    from_stage = body.from_stage if body else ""
    return answer(_value(here, await here.orchestrator.restart(project, lifecycle_id, from_stage)), 202)


def _value(here: Here, row: Lifecycle) -> dict[str, Any]:
    return lifecycle_value(row, here.orchestrator.live(row.id))


async def _document(request: Request) -> Document:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    body = await request.body()
    if kind in ("application/yaml", "application/x-yaml", "text/yaml", "text/plain"):
        return parse_yaml(body)
    if kind == "application/json":
        return parse_json(body)
    raise MalformedError(f"{kind!r} is not read here; send application/yaml or application/json")

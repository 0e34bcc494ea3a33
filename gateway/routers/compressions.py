"""Compressions: smaller versions of a model, each measured."""

from typing import Annotated

from fastapi import Request, Response
from pydantic import Field

from gateway.answers import answer, page, router
from gateway.context import Here
from gateway.parameters import Body, IdPath, JsonObject, OptionalName, Page, Project, json_text
from gateway.routers.keys import submission_key
from gateway.routers.models import MODEL_REF
from gateway.routers.resolve import dataset_digest, model_version
from gateway.schemas import COMPONENTS, fields, gives, problems
from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.compress.v1 import compression_pb2
from services.common.errors import NotFoundError
from services.common.rpc import acall

routes = router("compressions", "/compressions")

BOTH = fields({"compression": COMPONENTS.ref(compression_pb2.Compression), "job": COMPONENTS.ref(job_pb2.Job)})


class NewCompression(Body):
    """A model version, the dataset it is measured on, and the variants wanted."""

    model: Annotated[str, Field(pattern=MODEL_REF, examples=["digits@champion"])]
    dataset: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@/-]{0,255})?$", examples=["digits:1"])] = ""
    recipe: JsonObject = Field(examples=[{"variants": [{"name": "int8", "method": "static"}, {"name": "fp16"}]}])
    queue: OptionalName = ""


@routes.post(
    "",
    status_code=202,
    summary="Compress a model",
    responses=gives(BOTH, "The compression and its job.", status=202) | problems(400, 404, 409),
)
async def create_compression(project: Project, body: NewCompression, here: Here, request: Request) -> Response:
    """Queue the making and measuring of the variants; without a dataset, on the one the model was trained with."""
    version = await model_version(here, project, body.model)
    dataset = await dataset_digest(here, project, body.dataset) if body.dataset else version.dataset_digest
    submitted = compression_pb2.SubmitCompressionRequest(
        project=project,
        model_ref=body.model,
        dataset_digest=dataset,
        recipe_json=json_text(body.recipe, "recipe"),
        queue=body.queue,
        idempotency_key=submission_key(request),
    )
    return answer(await acall(here.upstream.compressions.SubmitCompression, submitted), 202)


@routes.get(
    "",
    summary="List compressions",
    responses=gives(COMPONENTS.page("compressions", compression_pb2.Compression), "A page, newest first.") | problems(),
)
async def list_compressions(project: Project, here: Here, paging: Page) -> Response:
    """Return compressions."""
    wanted = compression_pb2.ListCompressionsRequest(
        project=project, page_size=paging.page_size, page_token=paging.page_token
    )
    found = await acall(here.upstream.compressions.ListCompressions, wanted)
    return page("compressions", found.compressions, found.next_page_token)


@routes.get(
    "/{compression_id}",
    summary="Get a compression",
    responses=gives(COMPONENTS.ref(compression_pb2.Compression), "The compression.") | problems(404),
)
async def get_compression(project: Project, compression_id: IdPath, here: Here) -> Response:
    """Return a compression with the variants made so far."""
    request = compression_pb2.GetCompressionRequest(id=compression_id)
    found = (await acall(here.upstream.compressions.GetCompression, request)).compression
    if found.project != project:
        raise NotFoundError(f"project {project!r} has no compression {compression_id!r}")
    return answer(found)

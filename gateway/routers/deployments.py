"""Deployments: which version takes the traffic, and the predictions it gives."""

from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import Field

from gateway.answers import answer, page, router
from gateway.context import Here
from gateway.parameters import Body, Int32, JsonObject, NamePath, Page, Project, json_text
from gateway.routers.models import MODEL_REF
from gateway.schemas import COMPONENTS, NOTHING, fields, gives, problems
from proto.gen.modelwright.serve.v1 import deployment_pb2
from services.common.rpc import acall

routes = router("deployments", "/deployments")

DEPLOYMENT = gives(COMPONENTS.ref(deployment_pb2.Deployment), "The deployment.")
TEXT = {"type": "string"}
SCORE = fields({"label": TEXT, "score": {"type": "number"}})
PREDICTION = fields(
    {
        "id": TEXT,
        "model": TEXT,
        "model_digest": TEXT,
        "run": TEXT,
        "dataset": TEXT,
        "deployment": TEXT,
        "revision": TEXT,
        "outputs": {"type": "array", "items": {"type": "object"}},
        "predictions": {
            "type": "array",
            "items": fields({"label": TEXT, "score": {"type": "number"}, "top": {"type": "array", "items": SCORE}}),
        },
        "latency_ms": {"type": "number"},
    }
)
PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object"},
            "examples": {
                "instances": {"value": {"instances": [[[[0.0, 0.1], [0.2, 0.3]]]]}},
                "inputs": {
                    "value": {
                        "inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 1, 2], "data": [0.0, 0.1]}]
                    }
                },
                "images": {"value": {"images": ["iVBORw0KGgo="]}},
            },
        },
        "image/png": {"schema": {"type": "string", "format": "binary"}},
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
    },
}


class Wish(Body):
    """What a deployment shall serve."""

    model: Annotated[str, Field(pattern=MODEL_REF, examples=["models:/digits@champion"])]
    options: JsonObject = Field(default_factory=dict, examples=[{"instances": 1}])


class Rollback(Body):
    """Which revision a deployment goes back to; 0: the one that was active before."""

    revision: Annotated[Int32, Field(ge=0)] = 0


@routes.get(
    "",
    summary="List deployments",
    responses=gives(COMPONENTS.page("deployments", deployment_pb2.Deployment), "A page of deployments.") | problems(),
)
async def list_deployments(project: Project, here: Here, paging: Page) -> Response:
    """Return deployments."""
    wanted = deployment_pb2.ListDeploymentsRequest(
        project=project, page_size=paging.page_size, page_token=paging.page_token
    )
    found = await acall(here.upstream.deployments.ListDeployments, wanted)
    return page("deployments", found.deployments, found.next_page_token)


@routes.put("/{name}", summary="Apply a deployment", responses=DEPLOYMENT | problems(400, 404, 409))
async def apply_deployment(project: Project, name: NamePath, body: Wish, here: Here) -> Response:
    """Make a deployment or move it to another version; it takes the traffic once its golden inputs agree."""
    request = deployment_pb2.ApplyDeploymentRequest(
        project=project,
        name=name,
        model_ref=body.model,
        options_json=json_text(body.options, "options") if body.options else "",
    )
    return answer((await acall(here.upstream.deployments.ApplyDeployment, request)).deployment)


@routes.get("/{name}", summary="Get a deployment", responses=DEPLOYMENT | problems(404))
async def get_deployment(project: Project, name: NamePath, here: Here) -> Response:
    """Return a deployment: what takes the traffic, what is on its way, and where it answers."""
    request = deployment_pb2.GetDeploymentRequest(project=project, name=name)
    return answer((await acall(here.upstream.deployments.GetDeployment, request)).deployment)


@routes.delete("/{name}", status_code=204, summary="Delete a deployment", responses=NOTHING | problems(404))
async def delete_deployment(project: Project, name: NamePath, here: Here) -> Response:
    """Drain and delete a deployment; the version stays."""
    request = deployment_pb2.DeleteDeploymentRequest(project=project, name=name)
    await acall(here.upstream.deployments.DeleteDeployment, request)
    return Response(status_code=204)


@routes.post("/{name}:rollback", summary="Roll back", responses=DEPLOYMENT | problems(400, 404, 409))
async def rollback(project: Project, name: NamePath, here: Here, body: Rollback | None = None) -> Response:
    """Go back to a revision, or to the one that was active before."""
    revision = body.revision if body else 0
    request = deployment_pb2.RollbackDeploymentRequest(project=project, name=name, revision=revision)
    return answer((await acall(here.upstream.deployments.RollbackDeployment, request)).deployment)


@routes.get(
    "/{name}/revisions",
    summary="List revisions",
    responses=gives(COMPONENTS.ref(deployment_pb2.ListRevisionsResponse), "Revisions, newest first.") | problems(404),
)
async def list_revisions(project: Project, name: NamePath, here: Here) -> Response:
    """Return what the deployment served when."""
    request = deployment_pb2.ListRevisionsRequest(project=project, name=name)
    return answer(await acall(here.upstream.deployments.ListRevisions, request))


@routes.post(
    "/{name}:predict",
    summary="Predict",
    responses=gives(PREDICTION, "The answer and what it came from.") | problems(400, 404, 504),
    openapi_extra={"requestBody": PREDICT_BODY},
)
async def predict(project: Project, name: NamePath, request: Request, here: Here) -> Response:
    """Ask for predictions with tensors, instances, base64 pictures, or one picture as the body."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    return answer(await here.predictor.predict(project, name, await request.body(), kind))

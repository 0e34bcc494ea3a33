"""Lineage: from an answer back to its data, and forward."""

from typing import Annotated

from fastapi import Path, Response

from gateway.answers import answer, router
from gateway.context import Here
from gateway.lineage import trace
from gateway.parameters import Project
from gateway.schemas import COMPONENTS, gives, problems
from proto.gen.modelwright.train.v1 import registry_pb2

routes = router("lineage", "/lineage")

Thing = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$",
        description="A digest, run id, deployment name or prediction id.",
        examples=["digits"],
    ),
]


@routes.get(
    "/{thing}",
    summary="Trace a thing",
    responses=gives(COMPONENTS.ref(registry_pb2.GetLineageResponse), "Nodes and edges.") | problems(404),
)
async def get_lineage(project: Project, thing: Thing, here: Here) -> Response:
    """Return what something came from and led to: dataset, run, versions, deployments, predictions."""
    return answer(await trace(here.upstream, project, thing))

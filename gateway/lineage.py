"""Where a thing came from and what it led to, over the services' borders."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway.upstream import Upstream
from proto.gen.modelwright.serve.v1 import deployment_pb2
from proto.gen.modelwright.train.v1 import registry_pb2
from services.common.digest import PATTERN
from services.common.errors import ConflictError, NotFoundError
from services.common.names import NAME
from services.common.rpc import acall

PREDICTION_PREFIX = "prd_"
MAX_DEPLOYMENTS = 1000
MAX_NAMED = 3
"""Things that a refusal names; it counts the rest."""


class Lineage:
    """A graph that grows by what each service knows."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self.edges: dict[tuple[str, str, str], dict[str, str]] = {}

    def node(self, kind: str, node_id: str, title: str) -> None:
        """Add a thing; one that is there stays as it is."""
        if node_id:
            self.nodes.setdefault(node_id, {"kind": kind, "id": node_id, "title": title})

    def edge(self, from_id: str, to_id: str, relation: str) -> None:
        """Add how one thing led to another."""
        if from_id and to_id:
            self.edges[from_id, to_id, relation] = {"from_id": from_id, "to_id": to_id, "relation": relation}

    def revision(self, deployment: str, revision: deployment_pb2.Revision) -> None:
        """Add a deployment and the version that a revision of it serves."""
        self.node("deployment", deployment, f"{deployment} (revision {revision.number})")
        self.node("model_version", revision.model_digest, f"{revision.model_name}/{revision.model_number}")
        self.edge(revision.model_digest, deployment, "deployed_as")

    def value(self) -> dict[str, Any]:
        """Return nodes and edges."""
        return {"nodes": list(self.nodes.values()), "edges": list(self.edges.values())}


async def trace(upstream: Upstream, project: str, thing: str) -> dict[str, Any]:
    """Return the lineage of a digest, run id, deployment name or prediction id.

    Raises:
        NotFoundError: nothing has that id.
    """
    graph = Lineage()
    if thing.startswith(PREDICTION_PREFIX):
        root = await _prediction(upstream, project, thing, graph)
    elif PATTERN.fullmatch(thing) or not NAME.fullmatch(thing):
        root = thing
    else:
        root = await _deployment(upstream, project, thing, graph) or thing
    request = registry_pb2.GetLineageRequest(project=project, id=root)
    found = await acall(upstream.registry.GetLineage, request)
    for node in found.nodes:
        graph.node(node.kind, node.id, node.title)
    for edge in found.edges:
        graph.edge(edge.from_id, edge.to_id, edge.relation)
    async for deployment in _deployments(upstream, project):
        for revision in {one.id: one for one in (deployment.active, deployment.desired) if one.id}.values():
            if revision.model_digest in graph.nodes:
                graph.revision(deployment.name, revision)
    return graph.value()


async def check_unused_dataset(upstream: Upstream, project: str, digest: str) -> None:
    """Raise ConflictError if a run or a model version came from the dataset version."""
    request = registry_pb2.GetLineageRequest(project=project, id=digest)
    try:
        found = await acall(upstream.registry.GetLineage, request)
    except NotFoundError:
        return
    users = [f"{node.kind.replace('_', ' ')} {node.title or node.id}" for node in found.nodes if node.id != digest]
    if users:
        more = f" and {len(users) - MAX_NAMED} more" if len(users) > MAX_NAMED else ""
        raise ConflictError(
            f"{', '.join(users[:MAX_NAMED])}{more} came from this dataset version and could not be explained or made "
            "again without it; delete those first, or force the deletion"
        )


async def check_unserved_model(upstream: Upstream, project: str, digest: str) -> None:
    """Raise ConflictError if a deployment serves the model version or is about to."""
    async for deployment in _deployments(upstream, project):
        if digest in (deployment.active.model_digest, deployment.desired.model_digest):
            raise ConflictError(
                f"deployment {deployment.name!r} serves this version; move it to another or delete it first"
            )


async def _prediction(upstream: Upstream, project: str, thing: str, graph: Lineage) -> str:
    """Add prediction, deployment and version, and return the version's digest."""
    revision_id = thing.removeprefix(PREDICTION_PREFIX).rpartition("_")[0]
    if not revision_id:
        raise NotFoundError(f"{thing!r} is no prediction id; one reads 'prd_<revision>_<random>'")
    request = deployment_pb2.GetRevisionRequest(id=revision_id)
    found = await acall(upstream.deployments.GetRevision, request)
    if found.deployment.project != project:
        raise NotFoundError(f"project {project!r} has no prediction {thing!r}")
    graph.node("prediction", thing, f"prediction of {found.deployment.name}, revision {found.revision.number}")
    graph.revision(found.deployment.name, found.revision)
    graph.edge(found.deployment.name, thing, "answered")
    return str(found.revision.model_digest)


async def _deployment(upstream: Upstream, project: str, name: str, graph: Lineage) -> str:
    """Add a deployment and return the digest it serves; empty if there is none of that name."""
    request = deployment_pb2.GetDeploymentRequest(project=project, name=name)
    try:
        deployment = (await acall(upstream.deployments.GetDeployment, request)).deployment
    except NotFoundError:
        return ""
    revision = deployment.active if deployment.HasField("active") else deployment.desired
    graph.revision(deployment.name, revision)
    return str(revision.model_digest)


async def _deployments(upstream: Upstream, project: str) -> AsyncIterator[deployment_pb2.Deployment]:
    token, seen = "", 0
    while seen < MAX_DEPLOYMENTS:
        request = deployment_pb2.ListDeploymentsRequest(project=project, page_size=200, page_token=token)
        found = await acall(upstream.deployments.ListDeployments, request)
        for deployment in found.deployments:
            seen += 1
            yield deployment
        token = found.next_page_token
        if not token:
            return
        await asyncio.sleep(0)

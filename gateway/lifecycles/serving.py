"""The serve stage: the chosen version takes the traffic, and then the alias."""

import asyncio
from typing import Any

from gateway.lifecycles import requests
from gateway.lifecycles.spec import ServeSection
from gateway.lifecycles.stages import find_version
from gateway.lifecycles.work import StageFailedError, Work
from proto.gen.modelwright.serve.v1 import deployment_pb2
from proto.gen.modelwright.train.v1 import registry_pb2


class ServeStage:
    """Deploys the version that the gate chose; without a gate, the trained one."""

    async def inputs(self, work: Work) -> dict[str, Any]:
        """Return the version and where it goes."""
        serve = _section(work)
        return {"digest": _digest(work), "deployment": serve.deployment, "alias": serve.alias, "options": serve.options}

    async def holds(self, work: Work, result: dict[str, Any]) -> bool:
        """Say whether the version still has the traffic, and the alias."""
        found = await work.exists(
            work.upstream.deployments.GetDeployment,
            deployment_pb2.GetDeploymentRequest(project=work.spec.project, name=_section(work).deployment),
        )
        if found is None or not _serves(found.deployment, result["model_digest"]):
            return False
        alias = _section(work).alias
        return not alias or alias in (await find_version(work, result["model_digest"])).aliases

    async def run(self, work: Work) -> dict[str, Any]:
        """Return the revision, its addresses and what showed that it works."""
        serve, digest = _section(work), _digest(work)
        version = await find_version(work, digest)
        request = requests.deployment(serve, work.spec.project, digest)
        await work.call(work.upstream.deployments.ApplyDeployment, request)
        deployment = await work.until_cancelled(self._ready(work, digest))
        if serve.alias:
            await self._point(work, version)
        active = deployment.active
        return {
            "deployment": serve.deployment,
            "model": f"{version.name}/{version.number}",
            "model_digest": digest,
            "revision": active.number,
            "revision_id": active.id,
            "alias": serve.alias,
            "endpoints": [{"rest_url": one.rest_url, "grpc_address": one.grpc_address} for one in deployment.endpoints],
            "evidence": f"revision {active.number} is ready: its golden inputs gave their recorded outputs",
        }

    async def _ready(self, work: Work, digest: str) -> deployment_pb2.Deployment:
        name = _section(work).deployment
        try:
            async with asyncio.timeout(work.deploy_timeout_s):
                return await self._watched(work, name, digest)
        except TimeoutError as error:
            raise StageFailedError(
                f"deployment {name} was not ready after {work.deploy_timeout_s:g} s; is an inference server running? "
                f"GET /api/v1/projects/{work.spec.project}/deployments/{name} says where it stands"
            ) from error

    async def _watched(self, work: Work, name: str, digest: str) -> deployment_pb2.Deployment:
        request = deployment_pb2.WatchDeploymentRequest(project=work.spec.project, name=name)
        answers = work.watch(work.upstream.deployments.WatchDeployment, request)
        try:
            async for answer in answers:
                deployment: deployment_pb2.Deployment = answer.deployment
                if _serves(deployment, digest):
                    return deployment
                desired = deployment.desired
                if desired.state == deployment_pb2.REVISION_STATE_FAILED and desired.model_digest == digest:
                    raise StageFailedError(f"revision {desired.number} of {name} could not start: {desired.error}")
                state = deployment_pb2.RevisionState.Name(desired.state).removeprefix("REVISION_STATE_").lower()
                work.report({"message": f"revision {desired.number} is {state}"})
        finally:
            await answers.aclose()
        raise AssertionError("a watch ends only by its caller leaving")

    async def _point(self, work: Work, version: registry_pb2.ModelVersion) -> None:
        serve = _section(work)
        reason = f"lifecycle {work.lifecycle_id} of {work.spec.name} serves it as {serve.deployment}"
        request = registry_pb2.SetAliasRequest(
            project=work.spec.project,
            name=version.name,
            alias=serve.alias,
            digest=version.digest,
            actor=work.actor,
            reason=reason,
        )
        await work.call(work.upstream.registry.SetAlias, request)


def _section(work: Work) -> ServeSection:
    assert work.spec.serve is not None
    return work.spec.serve


def _digest(work: Work) -> str:
    if "gate" in work.results:
        return str(work.results["gate"]["chosen"]["digest"])
    return str(work.results["train"]["model_digest"])


def _serves(deployment: deployment_pb2.Deployment, digest: str) -> bool:
    active = deployment.active
    same = deployment.desired.id == active.id
    return same and active.model_digest == digest and active.state == deployment_pb2.REVISION_STATE_READY

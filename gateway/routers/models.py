"""The model registry: versions by number, digest or alias, and who moved which alias."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field, model_validator
from starlette.responses import StreamingResponse

from gateway.answers import answer, page, router
from gateway.archive import tar_stream
from gateway.context import Actor, Here
from gateway.lineage import check_unserved_model
from gateway.parameters import (
    Body,
    FileBody,
    Line,
    Name,
    NamePath,
    OptionalDigest,
    Page,
    Project,
    TextQuery,
    VersionPath,
    check_paths,
)
from gateway.routers.resolve import model_version
from gateway.schemas import COMPONENTS, NOTHING, gives, gives_bytes, problems
from proto.gen.modelwright.common.v1 import file_pb2
from proto.gen.modelwright.train.v1 import registry_pb2
from services.common.digest import PATTERN
from services.common.errors import InvalidError, NotFoundError
from services.common.rpc import acall

routes = router("models", "/models")
actions = router("models")

MODEL = gives(COMPONENTS.ref(registry_pb2.Model), "The model.")
VERSION = gives(COMPONENTS.ref(registry_pb2.ModelVersion), "The version.")
AliasPath = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,127}$", examples=["champion"])]
MODEL_REF = r"^(models:/)?[A-Za-z0-9][A-Za-z0-9._:@/-]{0,255}$"


class NewVersion(Body):
    """A model package whose files are blobs already."""

    name: Name
    files: list[FileBody] = Field(min_length=1, max_length=10_000)
    run_id: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$")] = ""
    dataset_digest: OptionalDigest = ""
    parent: OptionalDigest = ""
    variant: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "trained"


class Target(Body):
    """Where an alias shall point: a version or a digest."""

    version: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:@-]{0,127})?$", examples=["3"])] = ""
    digest: OptionalDigest = ""
    reason: Line = ""
    expected_digest: OptionalDigest | None = None

    @model_validator(mode="after")
    def _one(self) -> "Target":
        if bool(self.version) == bool(self.digest):
            raise ValueError("give either version or digest")
        return self


@routes.get(
    "",
    summary="List models",
    responses=gives(COMPONENTS.page("models", registry_pb2.Model), "A page of models.") | problems(),
)
async def list_models(project: Project, here: Here, paging: Page) -> Response:
    """Return models with their newest versions and aliases."""
    wanted = registry_pb2.ListModelsRequest(project=project, page_size=paging.page_size, page_token=paging.page_token)
    found = await acall(here.upstream.registry.ListModels, wanted)
    return page("models", found.models, found.next_page_token)


@routes.post(
    "",
    status_code=201,
    summary="Register a version",
    responses=gives(COMPONENTS.ref(registry_pb2.ModelVersion), "The version.", status=201) | problems(400, 404, 409),
)
async def create_version(project: Project, body: NewVersion, here: Here) -> Response:
    """Register a package; the same package under the same name is the same version."""
    check_paths([one.path for one in body.files], "files")
    version = registry_pb2.ModelVersion(
        project=project,
        name=body.name,
        parent=body.parent,
        run_id=body.run_id,
        dataset_digest=body.dataset_digest,
        variant=body.variant,
        files=[file_pb2.File(path=one.path, digest=one.digest, size=one.size) for one in body.files],
    )
    request = registry_pb2.CreateModelVersionRequest(version=version)
    return answer((await acall(here.upstream.registry.CreateModelVersion, request)).version, 201)


@actions.get("/models:resolve", summary="Resolve a reference", responses=VERSION | problems(404))
async def resolve(
    project: Project,
    here: Here,
    ref: Annotated[str, Query(max_length=300, pattern=MODEL_REF, examples=["models:/digits@champion"])],
) -> Response:
    """Return what `models:/digits@champion`, `digits/3`, `digits` or a digest means now."""
    return answer(await model_version(here, project, ref))


@routes.get("/{name}", summary="Get a model", responses=MODEL | problems(404))
async def get_model(project: Project, name: NamePath, here: Here) -> Response:
    """Return a model with its newest version and its aliases."""
    return answer(await _model(here, project, name))


@routes.get(
    "/{name}/versions",
    summary="List versions",
    responses=gives(COMPONENTS.page("versions", registry_pb2.ModelVersion), "A page of versions, newest first.")
    | problems(404),
)
async def list_versions(project: Project, name: NamePath, here: Here, paging: Page) -> Response:
    """Return a model's versions."""
    wanted = registry_pb2.ListModelVersionsRequest(
        project=project, name=name, page_size=paging.page_size, page_token=paging.page_token
    )
    found = await acall(here.upstream.registry.ListModelVersions, wanted)
    return page("versions", found.versions, found.next_page_token)


@routes.get("/{name}/versions/{version}", summary="Get a version", responses=VERSION | problems(404))
async def get_version(project: Project, name: NamePath, version: VersionPath, here: Here) -> Response:
    """Return a version by number, digest or alias."""
    return answer(await find(here, project, name, version))


@routes.delete(
    "/{name}/versions/{version}", status_code=204, summary="Delete a version", responses=NOTHING | problems(404, 409)
)
async def delete_version(project: Project, name: NamePath, version: VersionPath, here: Here) -> Response:
    """Delete a version; refused while an alias points at it, a deployment serves it or another descends from it."""
    found = await find(here, project, name, version)
    await check_unserved_model(here.upstream, project, found.digest)
    request = registry_pb2.DeleteModelVersionRequest(project=project, ref=f"{name}/{found.number}")
    await acall(here.upstream.registry.DeleteModelVersion, request)
    return Response(status_code=204)


@routes.get(
    "/{name}/versions/{version}/package",
    summary="Get a package",
    responses=gives_bytes("The package's files.", "application/x-tar") | problems(404),
)
async def get_package(project: Project, name: NamePath, version: VersionPath, here: Here) -> Response:
    """Return the version's files as a tar, the same bytes every time."""
    found = await find(here, project, name, version)
    files = [(file.path, file.digest, file.size) for file in found.files]
    await asyncio.gather(*(asyncio.to_thread(here.blobs.size, digest) for _, digest, _ in files))
    filename = f'attachment; filename="{found.name}-{found.number}.tar"'
    chunks: AsyncIterator[bytes] = tar_stream(here.blobs, files)
    return StreamingResponse(chunks, media_type="application/x-tar", headers={"Content-Disposition": filename})


@routes.put("/{name}/aliases/{alias}", summary="Point an alias", responses=MODEL | problems(400, 404, 409))
async def set_alias(
    *, project: Project, name: NamePath, alias: AliasPath, body: Target, here: Here, actor: Actor
) -> Response:
    """Point an alias at a version; with `expected_digest`, only if it points there now."""
    digest = body.digest or (await find(here, project, name, body.version)).digest
    request = registry_pb2.SetAliasRequest(
        project=project, name=name, alias=alias, digest=digest, actor=actor, reason=body.reason
    )
    if body.expected_digest is not None:
        request.expected_digest = body.expected_digest
    return answer((await acall(here.upstream.registry.SetAlias, request)).model)


@routes.delete("/{name}/aliases/{alias}", status_code=204, summary="Remove an alias", responses=NOTHING | problems(404))
async def delete_alias(
    *, project: Project, name: NamePath, alias: AliasPath, here: Here, actor: Actor, reason: TextQuery = ""
) -> Response:
    """Remove an alias; the version stays."""
    request = registry_pb2.DeleteAliasRequest(project=project, name=name, alias=alias, actor=actor, reason=reason)
    await acall(here.upstream.registry.DeleteAlias, request)
    return Response(status_code=204)


@routes.get(
    "/{name}/events",
    summary="Read an alias history",
    responses=gives(COMPONENTS.ref(registry_pb2.ListAliasEventsResponse), "Moves, newest first.") | problems(404),
)
async def list_events(project: Project, name: NamePath, here: Here) -> Response:
    """Return who moved which alias from where to where, when and why."""
    request = registry_pb2.ListAliasEventsRequest(project=project, name=name)
    return answer(await acall(here.upstream.registry.ListAliasEvents, request))


async def find(here: Here, project: str, name: str, version: str) -> registry_pb2.ModelVersion:
    """Return a model's version by number, digest or alias."""
    if PATTERN.fullmatch(version):
        found = await model_version(here, project, version)
        if found.name != name:
            raise NotFoundError(f"model {name!r} has no version {version}")
        return found
    if version.isascii() and version.isdigit():
        return await model_version(here, project, f"{name}/{version}")
    if not version.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise InvalidError(f"{version!r} is no version; give a number, a digest or an alias", field="version")
    return await model_version(here, project, f"{name}@{version}")


async def _model(here: Here, project: str, name: str) -> registry_pb2.Model:
    """Return a model: its newest version says all but the aliases and the count, which a page of models has."""
    newest = await model_version(here, project, name)
    token = ""
    while True:
        wanted = registry_pb2.ListModelsRequest(project=project, page_size=1000, page_token=token)
        found = await acall(here.upstream.registry.ListModels, wanted)
        for model in found.models:
            if model.name == newest.name:
                one: registry_pb2.Model = model
                return one
        token = found.next_page_token
        if not token:
            raise NotFoundError(f"project {project!r} has no model {name!r}")

"""Datasets: committed from uploads, read by version."""

import re
from typing import Annotated

from fastapi import Path, Query, Request, Response
from pydantic import Field

from gateway.answers import answer, page, router
from gateway.context import Here
from gateway.lineage import check_unused_dataset
from gateway.parameters import (
    Body,
    Int64,
    Name,
    NamePath,
    OptionalDigest,
    Page,
    Project,
    RefPath,
)
from gateway.routers.keys import submission_key
from gateway.schemas import COMPONENTS, NOTHING, fields, gives, gives_bytes, problems
from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.data.v1 import dataset_pb2
from services.common.rpc import acall

routes = router("datasets", "/datasets")

SampleId = Annotated[str, Path(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")

SplitName = Annotated[str, Query(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Split(Body):
    """How samples are divided; the same policy and bytes give the same division."""

    fractions: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, max_length=20, examples=[{"train": 0.7, "validation": 0.15, "test": 0.15}]
    )
    seed: Int64 = 0
    stratify: bool = False


class Commit(Body):
    """What becomes the next version of a dataset."""

    name: Name
    uploads: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]] = Field(
        min_length=1, max_length=10_000, examples=[["upl_01jd0000000000000000000000"]]
    )
    split: Split = Field(default_factory=Split)
    parent: OptionalDigest = ""


@routes.post(
    "",
    status_code=202,
    summary="Commit uploads as a version",
    responses=gives(fields({"job": COMPONENTS.ref(job_pb2.Job)}), "The job that commits.", status=202)
    | problems(400, 404, 409),
)
async def commit(project: Project, body: Commit, here: Here, request: Request) -> Response:
    """Validate, split and commit uploads; the job's result has the version's digest."""
    split = dataset_pb2.SplitPolicy(fractions=body.split.fractions, seed=body.split.seed, stratify=body.split.stratify)
    done = await acall(
        here.upstream.data.CommitDataset,
        dataset_pb2.CommitDatasetRequest(
            project=project,
            name=body.name,
            upload_ids=body.uploads,
            split=split,
            parent=body.parent,
            idempotency_key=submission_key(request),
        ),
    )
    return answer(done, 202)


@routes.get(
    "",
    summary="List datasets",
    responses=gives(COMPONENTS.page("datasets", dataset_pb2.Dataset), "A page of datasets.") | problems(),
)
async def list_datasets(project: Project, here: Here, paging: Page) -> Response:
    """Return datasets with their newest versions."""
    found = await acall(
        here.upstream.data.ListDatasets,
        dataset_pb2.ListDatasetsRequest(project=project, page_size=paging.page_size, page_token=paging.page_token),
    )
    return page("datasets", found.datasets, found.next_page_token)


@routes.get(
    "/{name}/versions",
    summary="List versions",
    responses=gives(COMPONENTS.page("versions", dataset_pb2.DatasetVersion), "A page of versions, newest first.")
    | problems(404),
)
async def list_versions(project: Project, name: NamePath, here: Here, paging: Page) -> Response:
    """Return a dataset's versions."""
    found = await acall(
        here.upstream.data.ListVersions,
        dataset_pb2.ListVersionsRequest(
            project=project, name=name, page_size=paging.page_size, page_token=paging.page_token
        ),
    )
    return page("versions", found.versions, found.next_page_token)


@routes.get(
    "/{ref}/samples",
    summary="List samples",
    responses=gives(COMPONENTS.page("samples", dataset_pb2.Sample), "A page of samples.") | problems(404),
)
async def list_samples(
    *,
    project: Project,
    ref: RefPath,
    here: Here,
    paging: Page,
    split: SplitName = "",
    label: Annotated[str, Query(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
) -> Response:
    """Return a version's samples, narrowed by split and label."""
    found = await acall(
        here.upstream.data.ListSamples,
        dataset_pb2.ListSamplesRequest(
            project=project, ref=ref, split=split, label=label, page_size=paging.page_size, page_token=paging.page_token
        ),
    )
    return page("samples", found.samples, found.next_page_token)


@routes.get(
    "/{ref}/samples/{sample_id:path}",
    summary="Read a sample",
    responses=gives_bytes("The sample's bytes.") | problems(404),
)
async def read_sample(project: Project, ref: RefPath, sample_id: SampleId, here: Here) -> Response:
    """Return a sample's own bytes. They are a user's: browsers are told to run nothing in them."""
    found = await acall(
        here.upstream.data.ReadSample, dataset_pb2.ReadSampleRequest(project=project, ref=ref, sample_id=sample_id)
    )
    headers = {
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "ETag": f'"{found.sample.digest}"',
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    return Response(found.data, media_type=media_type(found.sample.media_type), headers=headers)


@routes.get(
    "/{ref}",
    summary="Get a version",
    responses=gives(COMPONENTS.ref(dataset_pb2.DatasetVersion), "The version.") | problems(404),
)
async def get_version(project: Project, ref: RefPath, here: Here) -> Response:
    """Return a version by `digits` (its newest), `digits:3` or digest."""
    found = await acall(here.upstream.data.GetVersion, dataset_pb2.GetVersionRequest(project=project, ref=ref))
    return answer(found.version)


@routes.delete("/{ref}", status_code=204, summary="Delete a version", responses=NOTHING | problems(404, 409))
async def delete_version(
    project: Project,
    ref: RefPath,
    here: Here,
    force: Annotated[bool, Query(description="Delete it even if runs or models came from it.")] = False,
) -> Response:
    """Delete a version; its bytes go with the next collection, if nothing else needs them.

    Refused while a run or a model version that came from it is kept, unless `force` is given.
    """
    if not force:
        found = await acall(here.upstream.data.GetVersion, dataset_pb2.GetVersionRequest(project=project, ref=ref))
        await check_unused_dataset(here.upstream, project, found.version.digest)
    await acall(here.upstream.data.DeleteVersion, dataset_pb2.DeleteVersionRequest(project=project, ref=ref))
    return Response(status_code=204)


def media_type(stated: str) -> str:
    """Return a media type that is safe to send as stated, else that of mere bytes."""
    return stated if MEDIA_TYPE.fullmatch(stated) else "application/octet-stream"

"""Commits through real gRPC, a real worker child, and real databases and storages."""

import json

import pytest

from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.common.v1.reference_pb2 import ListReferencesRequest
from proto.gen.modelwright.data.v1 import dataset_pb2 as pb
from services.common.errors import ConflictError, InvalidError, NotFoundError, StaleLeaseError
from services.common.rpc import call, stream


@pytest.fixture(params=["sqlite and folder", "postgresql and s3"])
def any_house(request, build_house, tmp_path):
    if request.param == "sqlite and folder":
        return build_house()
    settings = {"database_url": request.getfixturevalue("postgres_url")} | request.getfixturevalue("s3_server")
    return build_house(storage_url=f"s3://data/{tmp_path.name}", **settings)


def test_an_upload_becomes_a_version_with_samples(any_house, digits, pack):
    house = any_house
    job = house.done(house.commit(house.upload(pack(digits))))
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    result = json.loads(job.result_json)
    version = house.version("digits")
    assert (result["number"], result["digest"], result["samples"]) == (1, version.digest, 40)
    assert json.loads(version.schema_json)["splits"] == {"test": 4, "train": 32, "validation": 4}
    request = pb.ListSamplesRequest(project="p", ref="digits:1", split="train", label="1", page_size=10)
    page = call(house.data.ListSamples, request)
    rest = call(house.data.ListSamples, pb.ListSamplesRequest(
        project="p", ref="digits:1", split="train", label="1", page_size=10, page_token=page.next_page_token
    ))  # fmt: skip
    assert (len(page.samples), len(rest.samples), rest.next_page_token) == (10, 6, "")
    sample = page.samples[0]
    read = call(house.data.ReadSample, pb.ReadSampleRequest(project="p", ref="digits", sample_id=sample.id))
    assert read.data == digits[sample.id]
    assert list(read.sample.shape) == [8, 8, 1]


def test_the_same_files_and_options_are_the_same_version(house, digits, pack):
    upload = house.upload(pack(digits))
    digests = {json.loads(house.done(house.commit(upload)).result_json)["digest"] for _ in range(2)}
    assert len(digests) == 1
    assert house.version("digits").number == 1
    house.done(house.commit(upload, seed=1, parent="digits:1"))
    second = house.version("digits")
    assert (second.number, second.parent) == (2, digests.pop())


def test_a_bad_picture_fails_the_job_by_name_and_commits_nothing(house, digits, pack):
    bad = digits | {"0/cut.png": digits["0/000.png"][:-9], "1/text.png": b"text"}
    job = house.done(house.commit(house.upload(pack(bad))))
    assert job.state == job_pb2.JOB_STATE_FAILED
    assert "0/cut.png: is truncated" in job.error
    assert "1/text.png: is not a picture" in job.error
    with pytest.raises(NotFoundError):
        house.version("digits")
    assert list(stream(house.references.ListReferences, ListReferencesRequest())) == []
    assert not list(house.settings.scratch().iterdir())


def test_the_same_key_gives_the_same_job(house, digits, pack):
    upload = house.upload(pack(digits))
    jobs = {house.commit(upload, idempotency_key="k").id for _ in range(2)}
    assert len(jobs) == 1


def test_a_request_can_be_checked_without_being_carried_out(house):
    def check(fractions, name="digits", **fields):
        policy = pb.SplitPolicy(fractions=fractions)
        request = pb.CommitDatasetRequest(project="p", name=name, split=policy, validate_only=True, **fields)
        return call(house.data.CommitDataset, request)

    assert not check({"train": 0.5, "test": 0.5}).HasField("job")
    for fractions in ({"train": 0.5, "test": 0.4}, {"train": 1.0, "test": 0.0}, {"train": float("nan")}):
        with pytest.raises(InvalidError):
            check(fractions)
    with pytest.raises(InvalidError):
        check({}, name="no/slashes")
    with pytest.raises(NotFoundError):
        check({}, parent="digits:1")
    with pytest.raises(NotFoundError):
        check({}, upload_ids=["upl_absent"])


def test_an_upload_that_is_not_complete_cannot_be_committed(house, digits, pack):
    upload = house.create(pack(digits))
    with pytest.raises(ConflictError, match="has received 0 of"):
        house.commit(upload.id)


def test_a_worker_without_the_lease_records_nothing(house, digits, pack):
    job = house.done(house.commit(house.upload(pack(digits))))
    version = house.version("digits")
    for token in (1, 99):
        request = pb.RecordVersionRequest(lease=job_pb2.Lease(job_id=job.id, token=token), version=version)
        with pytest.raises(StaleLeaseError):
            call(house.data.RecordVersion, request)


def test_versions_are_found_listed_and_deleted(house, digits, pack):
    upload = house.upload(pack(digits))
    for seed in range(3):
        house.done(house.commit(upload, seed=seed))
    house.done(house.commit(upload, name="other"))
    request = pb.ListVersionsRequest(project="p", name="digits", page_size=2)
    page = call(house.data.ListVersions, request)
    request.page_token = page.next_page_token
    assert [v.number for v in page.versions] == [3, 2]
    assert [v.number for v in call(house.data.ListVersions, request).versions] == [1]
    datasets = call(house.data.ListDatasets, pb.ListDatasetsRequest(project="p")).datasets
    assert [(d.name, d.versions, d.latest.number) for d in datasets] == [("digits", 3, 3), ("other", 1, 1)]
    assert house.version(page.versions[0].digest).number == 3
    call(house.data.DeleteVersion, pb.DeleteVersionRequest(project="p", ref="digits:3"))
    assert house.version("digits").number == 2
    house.done(house.commit(upload, seed=9))
    assert house.version("digits").number == 4


def test_a_missing_version_is_named_with_the_nearest(house, digits, pack):
    house.done(house.commit(house.upload(pack(digits))))
    for ref, message in (
        ("digits:7", "has no version 7; its newest is 1"),
        ("digit", "did you mean 'digits'"),
        ("sha256:" + "0" * 64, "has no dataset version"),
    ):
        with pytest.raises(NotFoundError, match=message):
            house.version(ref)
    with pytest.raises(InvalidError, match="is no dataset version"):
        house.version("digits:latest")


def test_the_collector_is_told_every_blob_of_every_version(house, digits, pack):
    upload = house.upload(pack(digits))
    for seed in range(2):
        house.done(house.commit(upload, seed=seed))
    found = [d for answer in stream(house.references.ListReferences, ListReferencesRequest()) for d in answer.digests]
    files = {file.digest for number in (1, 2) for file in house.version(f"digits:{number}").files}
    assert sorted(found) == sorted(files)
    assert len(files) == 3


def test_a_cancelled_commit_leaves_nothing(house, digits, pack):
    upload = house.upload(pack(digits))
    job = house.commit(upload)
    with pytest.raises(ConflictError, match=job.id):
        call(house.data.DeleteUpload, pb.DeleteUploadRequest(id=upload))
    call(house.jobs.CancelJob, job_pb2.CancelJobRequest(id=job.id))
    assert house.done(job).state == job_pb2.JOB_STATE_CANCELLED
    call(house.data.DeleteUpload, pb.DeleteUploadRequest(id=upload))

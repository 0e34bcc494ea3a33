"""Compressions through real gRPC, a real registry and storage, on SQLite and PostgreSQL."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sqlalchemy import delete

from proto.gen.modelwright.common.v1 import job_pb2, reference_pb2
from proto.gen.modelwright.common.v1.reference_pb2_grpc import ReferenceServiceStub
from proto.gen.modelwright.compress.v1 import compression_pb2 as pb
from proto.gen.modelwright.train.v1 import registry_pb2
from services.common.db import Database
from services.common.db.migrations import drift
from services.common.errors import ConflictError, InvalidError, NotFoundError, StaleLeaseError
from services.common.jobs.context import JobContext, JobStopped
from services.common.jobs.wire import lease_to_wire
from services.common.packages import PackageFile, download_package, read_package
from services.common.rpc import Peer, call, stream
from services.compress_svc.models import METADATA, VARIANTS
from services.compress_svc.tasks.compress import compress

ROOT = Path(__file__).resolve().parents[3]
Site = Any
"""What the fixture `site` gives; test modules import nothing from one another."""


def finish(site: Site, context: JobContext, result: dict[str, Any]) -> None:
    request = job_pb2.FinishJobRequest(
        lease=lease_to_wire(context.lease), state=job_pb2.JOB_STATE_SUCCEEDED, result_json=json.dumps(result)
    )
    call(site.jobs.FinishJob, request)


def references(site: Site) -> set[str]:
    stub = Peer(site.settings.compress_address).stub(ReferenceServiceStub)
    answers = stream(stub.ListReferences, reference_pb2.ListReferencesRequest(), timeout_s=10)
    return {digest for answer in answers for digest in answer.digests}


def test_variants_become_children_whose_packages_serve(site: Site, tmp_path: Path) -> None:
    submitted = site.submit(["fp32", {"name": "int8", "calibration_samples": 64}, "fp16"])
    context = site.claim()
    result = compress(context)
    finish(site, context, result)
    found = site.get(submitted.compression.id)
    assert [variant.name for variant in found.variants] == ["fp32", "int8", "fp16"]
    assert {child.variant: child.digest for child in site.children()} == {v.name: v.digest for v in found.variants}
    assert [item["digest"] for item in result["variants"]] == [variant.digest for variant in found.variants]
    for variant in found.variants:
        version = call(
            site.registry.GetModelVersion, registry_pb2.GetModelVersionRequest(project="default", ref=variant.digest)
        ).version
        assert version.parent == site.parent.digest
        assert json.loads(version.card_json) == json.loads(variant.card_json)
        files = [PackageFile(path=file.path, digest=file.digest, size=file.size) for file in version.files]
        package = read_package(download_package(files, tmp_path / variant.name, site.blobs))
        session = onnxruntime.InferenceSession(str(package.model), providers=["CPUExecutionProvider"])
        answers = session.run(None, dict(package.golden.inputs))
        assert package.golden.differences({"logits": answers[0]}, package.signature) == []
        assert package.weights is None
        assert package.card.parent == site.parent.digest


def test_cards_hold_every_figure_that_a_gate_bounds(site: Site) -> None:
    site.submit(["int8"])
    (made,) = compress(site.claim())["variants"]
    card = made["card"]
    assert card["metrics"]["accuracy"]["samples"] == 100
    assert card["metrics"]["accuracy"]["value"] > 0.9
    assert card["accuracy_drop"]["ci_low"] <= card["accuracy_drop"]["value"] <= card["accuracy_drop"]["ci_high"]
    assert 0 < card["size_ratio"] < 0.5
    assert card["speedup"] > 0
    assert card["latency"][0]["p50_ms"] <= card["latency"][0]["p99_ms"]
    # One golden sample is a tie to the fourth digit, which may fall either way.
    assert card["deviation"]["agreement"] >= 5 / 6
    assert 0 < card["deviation"]["relative"] < 0.1
    assert card["recipe"]["dataset"] == site.dataset.digest
    assert made["verdict"] in ("pays", "does not pay")
    assert made["reason"] == card["verdict"]["reason"]


def test_a_preempted_compression_goes_on_without_making_anything_twice(site: Site) -> None:
    submitted = site.submit(["fp32", "int8", "fp16"])

    def stop_after_the_first(context: JobContext) -> None:
        if site.get(submitted.compression.id).variants:
            context.stop.set()

    first = site.claim(stop_after_the_first)
    with pytest.raises(JobStopped):
        compress(first)
    call(site.jobs.ReleaseJob, job_pb2.ReleaseJobRequest(lease=lease_to_wire(first.lease), reason="preempted"))
    before = {variant.name: variant.digest for variant in site.get(submitted.compression.id).variants}
    assert list(before) == ["fp32"]
    result = compress(site.claim())
    after = {item["name"]: item["digest"] for item in result["variants"]}
    assert after["fp32"] == before["fp32"]
    assert sorted(child.digest for child in site.children()) == sorted(after.values())


def test_a_child_registered_but_not_recorded_by_a_lost_worker_is_adopted(site: Site) -> None:
    submitted = site.submit(["fp32", "fp16"])
    lost = site.claim()
    made = {item["name"]: item["digest"] for item in compress(lost)["variants"]}
    database = Database(site.settings.database_url_of("compress_svc"), "compress_svc", METADATA)
    with database.write() as session:
        session.execute(delete(VARIANTS).where(VARIANTS.c.name == "fp16"))
    call(site.jobs.ReleaseJob, job_pb2.ReleaseJobRequest(lease=lease_to_wire(lost.lease), reason="lost"))
    again = {item["name"]: item["digest"] for item in compress(site.claim())["variants"]}
    assert again == made
    assert len(site.children()) == 2
    assert len(site.get(submitted.compression.id).variants) == 2


def test_a_failing_variant_is_told_and_loses_no_other(site: Site) -> None:
    site.submit([{"name": "int8", "exclude_nodes": ["lost"]}, "fp16"])
    failed, made = compress(site.claim())["variants"]
    assert (failed["verdict"], failed["digest"]) == ("failed", "")
    assert "no node is named 'lost'; did you mean 'last'?" in failed["reason"]
    assert made["digest"]
    assert [child.variant for child in site.children()] == ["fp16"]


def test_a_compression_without_any_variant_fails_with_the_reasons(site: Site) -> None:
    site.submit([{"name": "int8", "exclude_nodes": ["lost"]}])
    with pytest.raises(InvalidError, match="no variant could be made: int8 could not be made: no node"):
        compress(site.claim())


def test_a_lost_worker_may_record_nothing(site: Site) -> None:
    submitted = site.submit(["fp16"])
    old = site.claim()
    call(site.jobs.ReleaseJob, job_pb2.ReleaseJobRequest(lease=lease_to_wire(old.lease), reason="lost"))
    site.claim()
    with pytest.raises(StaleLeaseError):
        compress(old)
    assert not site.get(submitted.compression.id).variants


def test_a_lease_of_another_compression_is_refused(site: Site) -> None:
    site.submit(["fp16"])
    context = site.claim()
    other = site.submit(["fp16"])
    request = pb.RecordVariantRequest(
        lease=lease_to_wire(context.lease),
        compression_id=other.compression.id,
        variant=pb.Variant(name="fp16", verdict="failed"),
    )
    with pytest.raises(ConflictError, match="not on"):
        call(site.compressions.RecordVariant, request)


def test_the_same_key_gives_the_same_compression(site: Site) -> None:
    first, second = (site.submit(["fp16"], idempotency_key="once") for _ in range(2))
    assert (first.compression.id, first.job.id) == (second.compression.id, second.job.id)
    with pytest.raises(ConflictError, match="use another key"):
        site.submit(["int8"], idempotency_key="once")


def test_blobs_are_named_until_the_work_has_ended(site: Site) -> None:
    site.submit(["fp16"])
    needed = {file.digest for file in (*site.parent.files, *site.dataset.files)}
    assert references(site) == needed
    context = site.claim()
    finish(site, context, compress(context))
    assert references(site) == set()


def test_submissions_are_checked_before_anything_is_queued(site: Site) -> None:
    with pytest.raises(InvalidError) as caught:
        site.submit([{"name": "int8", "calibraton": 1}], project="../x", queue="a b")
    fields = {found.field for found in caught.value.violations}
    assert fields == {"project", "queue", "compress.variants[0].calibraton"}
    with pytest.raises(NotFoundError):
        site.submit(["fp16"], model_ref="nobody")
    with pytest.raises(NotFoundError):
        site.submit(["fp16"], dataset_digest="nothing")
    with pytest.raises(InvalidError, match="not JSON"):
        site.submit([], recipe_json="{")
    listed = call(site.compressions.ListCompressions, pb.ListCompressionsRequest(project="default"))
    assert not listed.compressions


def test_validation_alone_queues_nothing_and_needs_no_references(site: Site) -> None:
    answer = site.submit(["int8"], validate_only=True, model_ref="", dataset_digest="")
    assert not answer.HasField("job")
    with pytest.raises(InvalidError, match="variants"):
        site.submit([], validate_only=True, model_ref="", dataset_digest="")


def test_pages_go_newest_first_and_end(site: Site) -> None:
    ids = [site.submit(["fp16"]).compression.id for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListCompressionsRequest(project="default", page_size=2, page_token=token)
        answer = call(site.compressions.ListCompressions, request)
        seen += [found.id for found in answer.compressions]
        token = answer.next_page_token
        if not token:
            break
    assert seen == ids[::-1]
    with pytest.raises(InvalidError, match="page_token"):
        call(site.compressions.ListCompressions, pb.ListCompressionsRequest(project="default", page_token="x"))


def test_migrations_give_the_tables_that_the_code_names(site: Site) -> None:
    database = Database(site.settings.database_url_of("compress_svc"), "compress_svc", METADATA)
    with database.engine.connect() as connection:
        assert drift(connection, METADATA) == []


def test_a_real_worker_takes_the_job(site: Site, redis_url: str, tmp_path: Path) -> None:
    submitted = site.submit(["fp32", "int8", "fp16"])
    environment = {
        **os.environ,
        "MODELWRIGHT_HOME": str(tmp_path),
        "MODELWRIGHT_LOG_LEVEL": "INFO",
        "MODELWRIGHT_BROKER_URL": redis_url,
        "MODELWRIGHT_TRAIN_ADDRESS": site.settings.train_address,
        "MODELWRIGHT_DATA_ADDRESS": site.settings.data_address,
        "MODELWRIGHT_COMPRESS_ADDRESS": site.settings.compress_address,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "services.compress_svc", "worker", "--queues", "cpu"]
    worker = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while True:
            job = call(site.jobs.GetJob, job_pb2.GetJobRequest(id=submitted.job.id)).job
            if job.state in (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED):
                break
            assert time.monotonic() < deadline, job
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait(30)
    assert (job.error, job.progress) == ("", 1.0)
    assert [item["name"] for item in json.loads(job.result_json)["variants"]] == ["fp32", "int8", "fp16"]
    lines = call_log(site, job.id)
    assert any("INT8" in line for line in lines)
    assert np.isfinite([item["card"]["speedup"] for item in json.loads(job.result_json)["variants"]]).all()


def call_log(site: Site, job_id: str) -> list[str]:
    answers = stream(site.jobs.ReadLog, job_pb2.ReadLogRequest(id=job_id), timeout_s=10)
    return [line.text for answer in answers for line in answer.lines]

"""The job body against a real train_svc."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from proto.gen.modelwright.train.v1 import registry_pb2, run_pb2
from services.common.errors import InvalidError, NotFoundError, StaleLeaseError
from services.common.jobs.context import JobContext, JobStopped
from services.common.packages import PackageFile, download_package, read_package
from services.common.rpc import call
from services.common.storage import blob_key
from services.train_svc.tasks.train import train

StopAt = Callable[[JobContext, int], None]
House = Any


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_job_trains_logs_checkpoints_and_registers(house: House, tmp_path: Path) -> None:
    run = house.submit()
    context = house.claim()
    result = train(context)

    assert result["run_id"] == run.id
    points = house.points(run.id)
    steps = 3 * (120 // 16)
    assert sorted(points["train_loss"]) == list(range(1, steps + 1))
    assert points["accuracy"] == {steps: result["metrics"]["accuracy"]["value"]}
    assert list(points["first_step_s"]) == [1]
    assert house.steps(run.id)[0] == steps

    request = registry_pb2.GetModelVersionRequest(project="default", ref="digits")
    version = call(house.registry.GetModelVersion, request).version
    assert (version.digest, version.run_id, version.dataset_digest) == (result["model_digest"], run.id, house.digest)
    files = [PackageFile(path=file.path, digest=file.digest, size=file.size) for file in version.files]
    card = read_package(download_package(files, tmp_path / "package", house.blobs)).card
    assert json.loads(version.card_json)["run"] == card.run == run.id

    kept = call(house.runs.GetRun, run_pb2.GetRunRequest(id=run.id)).run
    assert json.loads(kept.environment_json)["packages"]["torch"]
    assert json.loads(kept.hardware_json)["cpus"] > 0
    assert kept.code_version
    assert not list((house.settings.home / "work").iterdir())


def test_progress_is_reported_with_an_estimate(house: House) -> None:
    house.submit(epochs=2)
    context = house.claim()
    train(context)
    receiver = house.outboxes[-1][1]
    told = []
    while receiver.poll():
        told.append(receiver.recv())
    shares = [share for _, share, _, _ in told]
    assert shares == sorted(shares)
    assert any(eta is not None and eta > 0 for _, _, eta, _ in told)
    assert told[-1][3] == "exporting to ONNX"


def test_a_stopped_job_keeps_its_checkpoint_and_goes_on_from_it(house: House, stop_at: StopAt) -> None:
    # Two runs of one spec: one straight through, one stopped in its middle and claimed again.
    straight = house.submit()
    train(house.claim())
    broken = house.submit()
    context = house.claim()
    stop_at(context, 2)
    with pytest.raises(JobStopped, match="its checkpoint is saved"):
        train(context)
    (step,) = house.steps(broken.id)
    assert 0 < step < 21
    house.release(context)
    result = train(house.claim())
    assert result["run_id"] == broken.id

    wanted, got = house.points(straight.id), house.points(broken.id)
    for points in (wanted, got):
        points.pop("first_step_s")
    assert got == wanted


def test_a_worker_whose_lease_is_lost_stops_and_changes_nothing(house: House) -> None:
    run = house.submit(epochs=1000)
    old = house.claim()
    house.release(old)
    house.claim()
    with pytest.raises(StaleLeaseError):
        train(old)
    assert "train_loss" not in house.points(run.id)
    assert house.steps(run.id) == []


def test_a_checkpoint_whose_blob_is_damaged_is_passed_over(house: House, stop_at: StopAt) -> None:
    run = house.submit()
    context = house.claim()
    stop_at(context, 2)
    with pytest.raises(JobStopped):
        train(context)
    answer = call(house.runs.ListCheckpoints, run_pb2.ListCheckpointsRequest(run_id=run.id))
    for file in answer.checkpoints[0].files:
        house.blobs.storage.put(blob_key(file.digest), b"not what was stored")
    house.release(context)
    assert train(house.claim())["run_id"] == run.id
    assert sorted(house.points(run.id)["train_loss"]) == list(range(1, 22))


def test_a_dataset_version_that_is_gone_fails_with_its_name(house: House) -> None:
    house.submit()
    context = house.claim()
    context.job.spec["dataset_digest"] = "sha256:" + "0" * 64
    with pytest.raises(NotFoundError, match="there is no dataset version sha256:000"):
        train(context)


def test_a_spec_that_does_not_fit_the_dataset_says_so(house: House) -> None:
    house.submit(model={"template": "resnet_small", "num_classes": 3})
    with pytest.raises(InvalidError, match=r"the model gives \[3\], wanted \[10\]"):
        train(house.claim())

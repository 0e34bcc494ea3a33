"""Runs and their jobs over gRPC, on both databases."""

import json
from typing import Any

import pytest

from proto.gen.modelwright.common.v1 import job_pb2 as jobs
from proto.gen.modelwright.train.v1 import run_pb2 as pb
from services.common.errors import ConflictError, InvalidError, NotFoundError, StaleLeaseError
from services.common.rpc import call, stream

DATASET = "sha256:" + "d" * 64
SPEC = {"model": "resnet_small", "epochs": 2, "optimizer": {"name": "adamw", "lr": 0.01}, "seed": 3}


def submit(client: Any, **changes: Any) -> Any:
    fields: dict[str, Any] = {"project": "p", "spec_json": json.dumps(SPEC), "dataset_digest": DATASET, **changes}
    return call(client.runs.SubmitTraining, pb.SubmitTrainingRequest(**fields))


def claim(client: Any, worker: str = "w") -> Any:
    report = jobs.ReportWorkerRequest(
        worker=jobs.Worker(name=worker, queues=["cpu"], slots=1, hardware_json='{"cpus": 2}')
    )
    call(client.jobs.ReportWorker, report)
    return call(client.jobs.ClaimJob, jobs.ClaimJobRequest(worker=worker, queues=["cpu"]))


def finish(client: Any, lease: Any, state: Any, error: str = "") -> None:
    call(client.jobs.FinishJob, jobs.FinishJobRequest(lease=lease, state=state, error=error))


def get(client: Any, run_id: str) -> Any:
    return call(client.runs.GetRun, pb.GetRunRequest(id=run_id)).run


def test_a_submitted_run_moves_with_its_job(client: Any) -> None:
    made = submit(client, name="first")
    assert made.run.state == pb.RUN_STATE_QUEUED
    assert made.run.job_id == made.job.id
    assert client.bell.rung == [(made.job.id, "cpu")]
    claimed = claim(client)
    assert json.loads(claimed.job.spec_json) == {"spec": SPEC, "dataset_digest": DATASET, "run_id": made.run.id}
    running = get(client, made.run.id)
    assert running.state == pb.RUN_STATE_RUNNING
    assert json.loads(running.hardware_json) == {"cpus": 2}
    finish(client, claimed.lease, jobs.JOB_STATE_FAILED, "out of memory; use a smaller batch")
    failed = get(client, made.run.id)
    assert failed.state == pb.RUN_STATE_FAILED
    assert failed.error == "out of memory; use a smaller batch"
    assert failed.finished_at.seconds > 0


def test_the_specification_is_searchable_as_parameters(client: Any) -> None:
    made = submit(client)
    assert made.run.params["optimizer.lr"] == "0.01"
    assert made.run.seed == 3
    found = call(client.runs.ListRuns, pb.ListRunsRequest(project="p", filter="params.optimizer.lr = 0.01"))
    assert [run.id for run in found.runs] == [made.run.id]


def test_a_wrong_specification_is_refused_and_nothing_is_queued(client: Any) -> None:
    with pytest.raises(InvalidError, match="epochs"):
        submit(client, spec_json=json.dumps({"model": "resnet_small", "epochz": 2}))
    with pytest.raises(InvalidError, match="not JSON"):
        submit(client, spec_json="{")
    with pytest.raises(InvalidError, match="digest"):
        submit(client, dataset_digest="")
    assert not call(client.jobs.ListJobs, jobs.ListJobsRequest()).jobs


def test_a_check_makes_no_run_and_needs_no_dataset(client: Any) -> None:
    submit(client, dataset_digest="", validate_only=True)
    with pytest.raises(InvalidError):
        submit(client, spec_json='{"epochs": -1}', dataset_digest="", validate_only=True)
    assert not call(client.runs.ListRuns, pb.ListRunsRequest(project="p")).runs


def test_a_repeated_submission_is_the_same_run(client: Any) -> None:
    first, second = submit(client, idempotency_key="k"), submit(client, idempotency_key="k")
    assert (first.run.id, first.job.id) == (second.run.id, second.job.id)
    with pytest.raises(ConflictError, match="another request"):
        submit(client, idempotency_key="k", priority=3)
    assert len(call(client.jobs.ListJobs, jobs.ListJobsRequest()).jobs) == 1


def test_a_repeated_creation_is_the_same_run(client: Any) -> None:
    request = pb.CreateRunRequest(project="p", name="mine", params={"a": "1"}, idempotency_key="k")
    first, second = call(client.runs.CreateRun, request).run, call(client.runs.CreateRun, request).run
    assert first == second
    assert first.state == pb.RUN_STATE_RUNNING
    with pytest.raises(ConflictError):
        call(client.runs.CreateRun, pb.CreateRunRequest(project="p", name="other", idempotency_key="k"))


def test_a_failed_run_is_resumed_by_a_new_job_and_the_old_job_moves_it_no_more(client: Any) -> None:
    made = submit(client, priority=7)
    with pytest.raises(ConflictError, match="queued"):
        call(client.runs.ResumeRun, pb.ResumeRunRequest(id=made.run.id))
    call(client.jobs.CancelJob, jobs.CancelJobRequest(id=made.job.id))
    assert get(client, made.run.id).state == pb.RUN_STATE_CANCELLED
    resumed = call(client.runs.ResumeRun, pb.ResumeRunRequest(id=made.run.id))
    assert resumed.run.state == pb.RUN_STATE_QUEUED
    assert not resumed.run.HasField("finished_at")
    assert resumed.job.id != made.job.id
    assert resumed.job.priority == 7
    claimed = claim(client)
    assert claimed.job.id == resumed.job.id
    finish(client, claimed.lease, jobs.JOB_STATE_SUCCEEDED)
    assert get(client, made.run.id).state == pb.RUN_STATE_SUCCEEDED
    with pytest.raises(ConflictError, match="succeeded"):
        call(client.runs.ResumeRun, pb.ResumeRunRequest(id=made.run.id))


def test_a_foreign_run_is_finished_once(client: Any) -> None:
    run = call(client.runs.CreateRun, pb.CreateRunRequest(project="p")).run
    request = pb.FinishRunRequest(id=run.id, state=pb.RUN_STATE_FAILED, error="boom")
    first = call(client.runs.FinishRun, request).run
    assert call(client.runs.FinishRun, request).run == first
    assert first.error == "boom"
    with pytest.raises(ConflictError, match="ended as failed"):
        call(client.runs.FinishRun, pb.FinishRunRequest(id=run.id, state=pb.RUN_STATE_SUCCEEDED))
    for state in (pb.RUN_STATE_RUNNING, pb.RUN_STATE_UNSPECIFIED):
        with pytest.raises(InvalidError):
            call(client.runs.FinishRun, pb.FinishRunRequest(id=run.id, state=state))
    with pytest.raises(ConflictError, match="another program"):
        call(client.runs.ResumeRun, pb.ResumeRunRequest(id=run.id))
    made = submit(client)
    with pytest.raises(ConflictError, match="ends with its job"):
        call(client.runs.FinishRun, pb.FinishRunRequest(id=made.run.id, state=pb.RUN_STATE_FAILED))


def test_a_deleted_run_leaves_nothing_and_its_blobs_are_no_longer_referenced(client: Any) -> None:
    made = submit(client)
    claimed = claim(client)
    with pytest.raises(ConflictError, match="cancel its job"):
        call(client.runs.DeleteRun, pb.DeleteRunRequest(id=made.run.id))
    weights, report = client.store("weights", b"w"), client.store("report.html", b"r")
    checkpoint = pb.Checkpoint(run_id=made.run.id, step=5, files=[weights])
    call(client.runs.RecordCheckpoint, pb.RecordCheckpointRequest(lease=claimed.lease, checkpoint=checkpoint))
    call(client.runs.RecordArtifact, pb.RecordArtifactRequest(run_id=made.run.id, file=report))
    point = pb.MetricPoint(key="loss", step=1, value=1)
    call(client.runs.LogBatch, pb.LogBatchRequest(entries=[pb.RunEntry(run_id=made.run.id, points=[point])]))
    assert referenced(client) == {weights.digest, report.digest}
    finish(client, claimed.lease, jobs.JOB_STATE_CANCELLED)
    call(client.runs.DeleteRun, pb.DeleteRunRequest(id=made.run.id))
    assert referenced(client) == set()
    for method, request in (
        (client.runs.GetRun, pb.GetRunRequest(id=made.run.id)),
        (client.runs.ReadMetrics, pb.ReadMetricsRequest(run_id=made.run.id)),
        (client.jobs.GetJob, jobs.GetJobRequest(id=made.job.id)),
        (client.runs.DeleteRun, pb.DeleteRunRequest(id=made.run.id)),
    ):
        with pytest.raises(NotFoundError):
            call(method, request)


def referenced(client: Any) -> set[str]:
    from proto.gen.modelwright.common.v1 import reference_pb2

    answers = stream(client.references.ListReferences, reference_pb2.ListReferencesRequest())
    return {digest for answer in answers for digest in answer.digests}


def test_checkpoints_come_newest_first_and_a_step_is_replaced(client: Any) -> None:
    made = submit(client)
    lease = claim(client).lease
    for step, data in ((1, b"a"), (9, b"b"), (1, b"c")):
        checkpoint = pb.Checkpoint(run_id=made.run.id, step=step, files=[client.store("w", data)])
        call(client.runs.RecordCheckpoint, pb.RecordCheckpointRequest(lease=lease, checkpoint=checkpoint))
    found = call(client.runs.ListCheckpoints, pb.ListCheckpointsRequest(run_id=made.run.id)).checkpoints
    assert [checkpoint.step for checkpoint in found] == [9, 1]
    assert found[1].files[0].digest == client.store("w", b"c").digest


def test_an_old_lease_keeps_no_checkpoint(client: Any) -> None:
    made = submit(client)
    lease = claim(client).lease
    call(client.jobs.ReleaseJob, jobs.ReleaseJobRequest(lease=lease, reason="preempted"))
    assert get(client, made.run.id).state == pb.RUN_STATE_QUEUED
    checkpoint = pb.Checkpoint(run_id=made.run.id, step=1, files=[client.store("w", b"a")])
    with pytest.raises(StaleLeaseError):
        call(client.runs.RecordCheckpoint, pb.RecordCheckpointRequest(lease=lease, checkpoint=checkpoint))
    assert not call(client.runs.ListCheckpoints, pb.ListCheckpointsRequest(run_id=made.run.id)).checkpoints


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "", "a\nb", "a\\b"])
def test_an_unsound_path_is_refused(client: Any, path: str) -> None:
    run = call(client.runs.CreateRun, pb.CreateRunRequest(project="p")).run
    file = client.store(path, b"x")
    with pytest.raises(InvalidError):
        call(client.runs.RecordArtifact, pb.RecordArtifactRequest(run_id=run.id, file=file))
    assert not call(client.runs.ListArtifacts, pb.ListArtifactsRequest(run_id=run.id)).files

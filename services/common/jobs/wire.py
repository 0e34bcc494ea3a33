"""Jobs as protobuf messages, and back."""

import json

from google.protobuf.timestamp_pb2 import Timestamp

from proto.gen.modelwright.common.v1 import job_pb2
from services.common.jobs.job import Job, JobState, Lease, LogLine, WorkerInfo

STATES: "dict[JobState, job_pb2.JobState.ValueType]" = {
    JobState.QUEUED: job_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: job_pb2.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: job_pb2.JOB_STATE_SUCCEEDED,
    JobState.FAILED: job_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: job_pb2.JOB_STATE_CANCELLED,
}
FROM_WIRE = {number: state for state, number in STATES.items()}


def to_timestamp(seconds: float) -> Timestamp | None:
    """Return seconds since 1970 as a message; None for 0, which stands for never."""
    if not seconds:
        return None
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp


def to_seconds(stamp: Timestamp) -> float:
    """Return seconds since 1970; 0 for an unset message."""
    return stamp.seconds + stamp.nanos / 1e9


def job_to_wire(job: Job) -> job_pb2.Job:
    """Return the message for a job."""
    return job_pb2.Job(
        id=job.id,
        project=job.project,
        kind=job.kind,
        queue=job.queue,
        state=STATES[job.state],
        attempt=job.attempt,
        priority=job.priority,
        subject=job.subject,
        progress=job.progress,
        eta_s=job.eta_s,
        message=job.message,
        queue_position=job.queue_position,
        waiting_reason=job.waiting_reason,
        error=job.error,
        worker=job.worker,
        cancel_requested=job.cancel_requested,
        spec_json=json.dumps(job.spec),
        result_json="" if job.result is None else json.dumps(job.result),
        created_at=to_timestamp(job.created_at),
        started_at=to_timestamp(job.started_at),
        finished_at=to_timestamp(job.finished_at),
    )


def job_from_wire(job: job_pb2.Job) -> Job:
    """Return the job that a message stands for."""
    return Job(
        id=job.id,
        project=job.project,
        kind=job.kind,
        queue=job.queue,
        state=FROM_WIRE[job.state],
        attempt=job.attempt,
        priority=job.priority,
        subject=job.subject,
        progress=job.progress,
        eta_s=job.eta_s if job.HasField("eta_s") else None,
        message=job.message,
        queue_position=job.queue_position,
        waiting_reason=job.waiting_reason,
        error=job.error,
        worker=job.worker,
        cancel_requested=job.cancel_requested,
        spec=json.loads(job.spec_json or "{}"),
        result=json.loads(job.result_json) if job.result_json else None,
        created_at=to_seconds(job.created_at),
        started_at=to_seconds(job.started_at),
        finished_at=to_seconds(job.finished_at),
    )


def lease_to_wire(lease: Lease) -> job_pb2.Lease:
    """Return the message for a lease."""
    return job_pb2.Lease(job_id=lease.job_id, token=lease.token)


def lease_from_wire(lease: job_pb2.Lease) -> Lease:
    """Return the lease that a message stands for."""
    return Lease(job_id=lease.job_id, token=lease.token)


def line_to_wire(line: LogLine) -> job_pb2.LogLine:
    """Return the message for a line."""
    return job_pb2.LogLine(seq=line.seq, time=to_timestamp(line.time), stream=line.stream, text=line.text)


def line_from_wire(line: job_pb2.LogLine) -> LogLine:
    """Return the line that a message stands for."""
    return LogLine(seq=line.seq, time=to_seconds(line.time), stream=line.stream, text=line.text)


def worker_to_wire(worker: WorkerInfo) -> job_pb2.Worker:
    """Return the message for a worker."""
    return job_pb2.Worker(
        name=worker.name,
        queues=worker.queues,
        slots=worker.slots,
        busy_slots=worker.busy_slots,
        hardware_json=json.dumps(worker.hardware),
        seen_at=to_timestamp(worker.seen_at),
    )


def worker_from_wire(worker: job_pb2.Worker) -> WorkerInfo:
    """Return the worker that a message stands for."""
    return WorkerInfo(
        name=worker.name,
        queues=tuple(worker.queues),
        slots=worker.slots,
        busy_slots=worker.busy_slots,
        hardware=json.loads(worker.hardware_json or "{}"),
        seen_at=to_seconds(worker.seen_at),
    )

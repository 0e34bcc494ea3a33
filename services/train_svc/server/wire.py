"""Records as messages, and back."""

import math
import time
from collections.abc import Iterable

from proto.gen.modelwright.common.v1 import file_pb2, job_pb2
from proto.gen.modelwright.train.v1 import registry_pb2, run_pb2
from services.common.errors import InvalidError
from services.common.jobs import Lease
from services.common.jobs.wire import to_timestamp
from services.train_svc.models import Checkpoint, Entry, File, Model, ModelVersion, Point, Run, RunState, Series

STATES: "dict[RunState, run_pb2.RunState.ValueType]" = {
    RunState.QUEUED: run_pb2.RUN_STATE_QUEUED,
    RunState.RUNNING: run_pb2.RUN_STATE_RUNNING,
    RunState.SUCCEEDED: run_pb2.RUN_STATE_SUCCEEDED,
    RunState.FAILED: run_pb2.RUN_STATE_FAILED,
    RunState.CANCELLED: run_pb2.RUN_STATE_CANCELLED,
}
FROM_WIRE = {number: state for state, number in STATES.items()}


def state_from_wire(number: "run_pb2.RunState.ValueType") -> RunState:
    """Return a run's state, or raise InvalidError for one that is unset or unknown."""
    if number not in FROM_WIRE:
        raise InvalidError("state is not set; give succeeded, failed or cancelled", field="state")
    return FROM_WIRE[number]


def lease_from_wire(lease: job_pb2.Lease) -> Lease | None:
    """Return the lease; None for an unset one."""
    return Lease(job_id=lease.job_id, token=lease.token) if lease.job_id else None


def file_to_wire(file: File) -> file_pb2.File:
    """Return the message for a file."""
    return file_pb2.File(path=file.path, digest=file.digest, size=file.size)


def files_from_wire(files: Iterable[file_pb2.File]) -> tuple[File, ...]:
    """Return the files that messages stand for."""
    return tuple(File(path=file.path, digest=file.digest, size=file.size) for file in files)


def point_to_wire(point: Point) -> run_pb2.MetricPoint:
    """Return the message for a point."""
    return run_pb2.MetricPoint(key=point.key, step=point.step, value=point.value, time=point.time)


def entry_from_wire(entry: run_pb2.RunEntry) -> Entry:
    """Return an entry with its points by metric; a point without a time was made now."""
    now = time.time()
    points: dict[str, list[tuple[int, float | None, float]]] = {}
    for point in entry.points:
        value, at = point.value, point.time
        row = (point.step, None if math.isnan(value) else value, at if at > 0 else now)
        if (rows := points.get(point.key)) is None:
            points[point.key] = [row]
        else:
            rows.append(row)
    return Entry(run_id=entry.run_id, points=points, params=dict(entry.params), tags=dict(entry.tags))


def run_to_wire(run: Run) -> run_pb2.Run:
    """Return the message for a run."""
    return run_pb2.Run(
        id=run.id,
        project=run.project,
        name=run.name,
        state=STATES[run.state],
        params=run.params,
        tags=run.tags,
        metrics={key: point_to_wire(point) for key, point in run.metrics.items()},
        dataset_digest=run.dataset_digest,
        engine=run.engine,
        seed=run.seed,
        code_version=run.code_version,
        environment_json=run.environment_json,
        hardware_json=run.hardware_json,
        spec_json=run.spec_json,
        job_id=run.job_id,
        error=run.error,
        created_at=to_timestamp(run.created_at),
        started_at=to_timestamp(run.started_at),
        finished_at=to_timestamp(run.finished_at),
    )


def series_to_wire(series: Series) -> run_pb2.MetricSeries:
    """Return the message for a series."""
    return run_pb2.MetricSeries(key=series.key, steps=series.steps, values=series.values, times=series.times)


def checkpoint_to_wire(checkpoint: Checkpoint) -> run_pb2.Checkpoint:
    """Return the message for a checkpoint."""
    return run_pb2.Checkpoint(
        run_id=checkpoint.run_id,
        step=checkpoint.step,
        files=[file_to_wire(file) for file in checkpoint.files],
        created_at=to_timestamp(checkpoint.created_at),
    )


def version_from_wire(version: registry_pb2.ModelVersion) -> ModelVersion:
    """Return the version that a caller asks for."""
    return ModelVersion(
        project=version.project,
        name=version.name,
        digest=version.digest,
        parent=version.parent,
        run_id=version.run_id,
        dataset_digest=version.dataset_digest,
        variant=version.variant or "trained",
        card_json=version.card_json,
        signature_json=version.signature_json,
        files=files_from_wire(version.files),
    )


def version_to_wire(version: ModelVersion) -> registry_pb2.ModelVersion:
    """Return the message for a version."""
    return registry_pb2.ModelVersion(
        project=version.project,
        name=version.name,
        number=version.number,
        digest=version.digest,
        parent=version.parent,
        run_id=version.run_id,
        dataset_digest=version.dataset_digest,
        variant=version.variant,
        files=[file_to_wire(file) for file in version.files],
        card_json=version.card_json,
        signature_json=version.signature_json,
        aliases=version.aliases,
        created_at=to_timestamp(version.created_at),
    )


def model_to_wire(model: Model) -> registry_pb2.Model:
    """Return the message for a model."""
    return registry_pb2.Model(
        project=model.project,
        name=model.name,
        latest=version_to_wire(model.latest) if model.latest else None,
        versions=model.versions,
        aliases=model.aliases,
    )

"""`modelwright.train.v1.RunService`."""

from collections.abc import Callable, Iterator

import grpc

from proto.gen.modelwright.train.v1 import run_pb2 as pb
from proto.gen.modelwright.train.v1 import run_pb2_grpc
from services.common.jobs.wire import job_to_wire
from services.common.names import check_name
from services.train_svc.models import Checkpoint
from services.train_svc.server import wire
from services.train_svc.service import FileService, MetricService, RunRequest, RunService, TrainRequest

POINTS_A_MESSAGE = 10_000


class RunServer(run_pb2_grpc.RunServiceServicer):
    """Runs, their metrics and their files.

    Args:
        runs: use cases of runs.
        metrics: use cases of metrics.
        files: use cases of checkpoints and artifacts.
        stopping: tells streams to end.
    """

    def __init__(
        self, runs: RunService, metrics: MetricService, files: FileService, stopping: Callable[[], bool]
    ) -> None:
        self._runs, self._metrics, self._files = runs, metrics, files
        self._stopping = stopping

    def CreateRun(self, request: pb.CreateRunRequest, context: grpc.ServicerContext) -> pb.CreateRunResponse:
        """Start a foreign run."""
        asked = RunRequest(
            project=request.project,
            name=request.name,
            params=dict(request.params),
            tags=dict(request.tags),
            dataset_digest=request.dataset_digest,
            code_version=request.code_version,
            environment_json=request.environment_json,
            hardware_json=request.hardware_json,
        )
        return pb.CreateRunResponse(run=wire.run_to_wire(self._runs.create(asked, request.idempotency_key)))

    def SubmitTraining(
        self, request: pb.SubmitTrainingRequest, context: grpc.ServicerContext
    ) -> pb.SubmitTrainingResponse:
        """Queue a training, or only check it."""
        asked = TrainRequest(
            project=request.project,
            name=request.name,
            spec_json=request.spec_json,
            dataset_digest=request.dataset_digest,
            queue=request.queue,
            priority=request.priority,
        )
        if request.validate_only:
            self._runs.check(asked)
            return pb.SubmitTrainingResponse()
        run, job = self._runs.submit(asked, request.idempotency_key)
        return pb.SubmitTrainingResponse(run=wire.run_to_wire(run), job=job_to_wire(job))

    def ResumeRun(self, request: pb.ResumeRunRequest, context: grpc.ServicerContext) -> pb.ResumeRunResponse:
        """Queue a run again."""
        run, job = self._runs.resume(request.id)
        return pb.ResumeRunResponse(run=wire.run_to_wire(run), job=job_to_wire(job))

    def GetRun(self, request: pb.GetRunRequest, context: grpc.ServicerContext) -> pb.GetRunResponse:
        """Return a run."""
        return pb.GetRunResponse(run=wire.run_to_wire(self._runs.get(request.id)))

    def ListRuns(self, request: pb.ListRunsRequest, context: grpc.ServicerContext) -> pb.ListRunsResponse:
        """Return a page of runs."""
        found, token = self._metrics.search(
            check_name(request.project, "project"),
            text=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListRunsResponse(runs=[wire.run_to_wire(run) for run in found], next_page_token=token)

    def FinishRun(self, request: pb.FinishRunRequest, context: grpc.ServicerContext) -> pb.FinishRunResponse:
        """End a foreign run."""
        run = self._runs.finish(request.id, wire.state_from_wire(request.state), request.error)
        return pb.FinishRunResponse(run=wire.run_to_wire(run))

    def DeleteRun(self, request: pb.DeleteRunRequest, context: grpc.ServicerContext) -> pb.DeleteRunResponse:
        """Delete a run."""
        self._runs.delete(request.id)
        return pb.DeleteRunResponse()

    def LogBatch(self, request: pb.LogBatchRequest, context: grpc.ServicerContext) -> pb.LogBatchResponse:
        """Write points, parameters and tags."""
        entries = [wire.entry_from_wire(entry) for entry in request.entries]
        return pb.LogBatchResponse(refused_runs=self._metrics.log(entries, wire.lease_from_wire(request.lease)))

    def ReadMetrics(self, request: pb.ReadMetricsRequest, context: grpc.ServicerContext) -> pb.ReadMetricsResponse:
        """Return points; `after_step` 0, which is also the unset one, begins at the very first."""
        found = self._metrics.read(
            request.run_id,
            keys=list(request.keys),
            after_step=request.after_step or None,
            max_points=request.max_points,
        )
        return pb.ReadMetricsResponse(series=[wire.series_to_wire(series) for series in found])

    def WatchRun(self, request: pb.WatchRunRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchRunResponse]:
        """Send the run, then what is new."""
        for change in self._metrics.watch(request.run_id, lambda: self._stopping() or not context.is_active()):
            # The points first: a run that has ended is the last word.
            for start in range(0, len(change.points), POINTS_A_MESSAGE):
                group = change.points[start : start + POINTS_A_MESSAGE]
                yield pb.WatchRunResponse(points=[wire.point_to_wire(point) for point in group])
            if change.run:
                yield pb.WatchRunResponse(run=wire.run_to_wire(change.run))

    def RecordCheckpoint(
        self, request: pb.RecordCheckpointRequest, context: grpc.ServicerContext
    ) -> pb.RecordCheckpointResponse:
        """Keep a checkpoint."""
        sent = request.checkpoint
        made = Checkpoint(run_id=sent.run_id, step=sent.step, files=wire.files_from_wire(sent.files))
        self._files.record_checkpoint(made, wire.lease_from_wire(request.lease))
        return pb.RecordCheckpointResponse()

    def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, context: grpc.ServicerContext
    ) -> pb.ListCheckpointsResponse:
        """Return a run's checkpoints."""
        found = self._files.checkpoints(request.run_id)
        return pb.ListCheckpointsResponse(checkpoints=[wire.checkpoint_to_wire(checkpoint) for checkpoint in found])

    def RecordArtifact(
        self, request: pb.RecordArtifactRequest, context: grpc.ServicerContext
    ) -> pb.RecordArtifactResponse:
        """Keep an artifact."""
        self._files.record_artifact(request.run_id, wire.files_from_wire([request.file])[0])
        return pb.RecordArtifactResponse()

    def ListArtifacts(
        self, request: pb.ListArtifactsRequest, context: grpc.ServicerContext
    ) -> pb.ListArtifactsResponse:
        """Return a run's artifacts."""
        found = self._files.artifacts(request.run_id)
        return pb.ListArtifactsResponse(files=[wire.file_to_wire(file) for file in found])

"""The gRPC adapter of jobs: translates, nothing else."""

import json
from collections.abc import Callable, Iterator

import grpc

from proto.gen.modelwright.common.v1 import job_pb2 as pb
from proto.gen.modelwright.common.v1 import job_pb2_grpc
from services.common.errors import InvalidError
from services.common.jobs import wire
from services.common.jobs.service import JobService
from services.common.rpc import RpcServer


class JobServer(job_pb2_grpc.JobServiceServicer):
    """`modelwright.common.v1.JobService` of one service."""

    def __init__(self, service: JobService, stopping: Callable[[], bool]) -> None:
        self._service = service
        self._stopping = stopping

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.GetJobResponse:
        """Return a job."""
        return pb.GetJobResponse(job=wire.job_to_wire(self._service.get(request.id)))

    def ListJobs(self, request: pb.ListJobsRequest, context: grpc.ServicerContext) -> pb.ListJobsResponse:
        """Return a page of jobs."""
        if any(state not in wire.FROM_WIRE for state in request.states):
            raise InvalidError("an unknown job state was asked for", field="states")
        jobs, token = self._service.page(
            project=request.project,
            states=[wire.FROM_WIRE[state] for state in request.states],
            subject=request.subject,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListJobsResponse(jobs=[wire.job_to_wire(job) for job in jobs], next_page_token=token)

    def WatchJob(self, request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchJobResponse]:
        """Send the job now and after each change."""
        for job in self._service.watch(request.id, self._leave(context)):
            yield pb.WatchJobResponse(job=wire.job_to_wire(job))

    def ReadLog(self, request: pb.ReadLogRequest, context: grpc.ServicerContext) -> Iterator[pb.ReadLogResponse]:
        """Send the job's lines."""
        leave = self._leave(context)
        for lines in self._service.read_log(request.id, request.after_seq, follow=request.follow, leave=leave):
            yield pb.ReadLogResponse(lines=[wire.line_to_wire(line) for line in lines])

    def CancelJob(self, request: pb.CancelJobRequest, context: grpc.ServicerContext) -> pb.CancelJobResponse:
        """Cancel a job."""
        return pb.CancelJobResponse(job=wire.job_to_wire(self._service.cancel(request.id)))

    def PreemptJob(self, request: pb.PreemptJobRequest, context: grpc.ServicerContext) -> pb.PreemptJobResponse:
        """Preempt a job."""
        return pb.PreemptJobResponse(job=wire.job_to_wire(self._service.preempt(request.id)))

    def ListWorkers(self, request: pb.ListWorkersRequest, context: grpc.ServicerContext) -> pb.ListWorkersResponse:
        """Return the workers."""
        return pb.ListWorkersResponse(workers=[wire.worker_to_wire(worker) for worker in self._service.workers()])

    def ClaimJob(self, request: pb.ClaimJobRequest, context: grpc.ServicerContext) -> pb.ClaimJobResponse:
        """Hand out the next job."""
        claimed = self._service.claim(request.worker, request.queues)
        if claimed is None:
            return pb.ClaimJobResponse()
        job, lease = claimed
        return pb.ClaimJobResponse(
            job=wire.job_to_wire(job), lease=wire.lease_to_wire(lease), lease_s=self._service.lease_s
        )

    def RenewLease(self, request: pb.RenewLeaseRequest, context: grpc.ServicerContext) -> pb.RenewLeaseResponse:
        """Keep a lease alive."""
        job = self._service.renew(
            wire.lease_from_wire(request.lease),
            progress=request.progress if request.HasField("progress") else None,
            eta_s=request.eta_s if request.HasField("eta_s") else None,
            message=request.message if request.HasField("message") else None,
            lines=[wire.line_from_wire(line) for line in request.lines],
        )
        return pb.RenewLeaseResponse(cancel_requested=job.cancel_requested, preempt_requested=job.preempt_requested)

    def FinishJob(self, request: pb.FinishJobRequest, context: grpc.ServicerContext) -> pb.FinishJobResponse:
        """End a held job."""
        if request.state not in wire.FROM_WIRE:
            raise InvalidError("a job finishes as succeeded, failed or cancelled", field="state")
        job = self._service.finish(
            wire.lease_from_wire(request.lease),
            wire.FROM_WIRE[request.state],
            error=request.error,
            result=json.loads(request.result_json) if request.result_json else None,
        )
        return pb.FinishJobResponse(job=wire.job_to_wire(job))

    def ReleaseJob(self, request: pb.ReleaseJobRequest, context: grpc.ServicerContext) -> pb.ReleaseJobResponse:
        """Put a held job back."""
        job = self._service.release(wire.lease_from_wire(request.lease), request.reason)
        return pb.ReleaseJobResponse(job=wire.job_to_wire(job))

    def ReportWorker(self, request: pb.ReportWorkerRequest, context: grpc.ServicerContext) -> pb.ReportWorkerResponse:
        """Note a worker."""
        return pb.ReportWorkerResponse(waiting_jobs=self._service.report(wire.worker_from_wire(request.worker)))

    def _leave(self, context: grpc.ServicerContext) -> Callable[[], bool]:
        return lambda: self._stopping() or not context.is_active()


def add_job_service(server: RpcServer, service: JobService) -> None:
    """Mount a service's jobs on its server."""
    servicer = JobServer(service, server.stopping.is_set)
    server.add(job_pb2_grpc.add_JobServiceServicer_to_server, servicer)

"""DeploymentService."""

from collections.abc import Callable, Iterator

import grpc

from proto.gen.modelwright.serve.v1 import deployment_pb2 as pb
from proto.gen.modelwright.serve.v1 import deployment_pb2_grpc as pb_grpc
from services.common.signals import Signal
from services.serve_svc.engine.deployment import Endpoint
from services.serve_svc.server.translate import assignment_message, deployment_message, revision_message, state_from
from services.serve_svc.service import Deployments, Servers
from services.serve_svc.service.views import CHANGES


class DeploymentServicer(pb_grpc.DeploymentServiceServicer):
    """Answers those who deploy and those who serve.

    Args:
        deployments: use cases of the former.
        servers: use cases of the latter.
        signal: woken when a caller leaves, so that its stream ends at once.
        is_stopping: streams end while this is true.
    """

    def __init__(
        self, deployments: Deployments, servers: Servers, signal: Signal, is_stopping: Callable[[], bool]
    ) -> None:
        self._deployments = deployments
        self._servers = servers
        self._signal = signal
        self._is_stopping = is_stopping

    def ApplyDeployment(
        self, request: pb.ApplyDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.ApplyDeploymentResponse:
        """Make or move a deployment."""
        asked = (request.project, request.name, request.model_ref, request.options_json)
        if request.validate_only:
            self._deployments.check(*asked)
            return pb.ApplyDeploymentResponse()
        return pb.ApplyDeploymentResponse(deployment=deployment_message(self._deployments.apply(*asked)))

    def GetDeployment(
        self, request: pb.GetDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.GetDeploymentResponse:
        """Return one."""
        found = self._deployments.get(request.project, request.name)
        return pb.GetDeploymentResponse(deployment=deployment_message(found))

    def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: grpc.ServicerContext
    ) -> pb.ListDeploymentsResponse:
        """Return a page."""
        page, token = self._deployments.page(request.project, request.page_size, request.page_token)
        return pb.ListDeploymentsResponse(deployments=[deployment_message(one) for one in page], next_page_token=token)

    def WatchDeployment(
        self, request: pb.WatchDeploymentRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchDeploymentResponse]:
        """Send one now and after each change."""
        wanted = self._connected(context)
        for found in self._deployments.watch(
            request.project, request.name, lambda: wanted() and not self._is_stopping()
        ):
            yield pb.WatchDeploymentResponse(deployment=deployment_message(found))

    def RollbackDeployment(
        self, request: pb.RollbackDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.RollbackDeploymentResponse:
        """Go back to a revision."""
        found = self._deployments.rollback(request.project, request.name, request.revision)
        return pb.RollbackDeploymentResponse(deployment=deployment_message(found))

    def DeleteDeployment(
        self, request: pb.DeleteDeploymentRequest, context: grpc.ServicerContext
    ) -> pb.DeleteDeploymentResponse:
        """Take one off."""
        self._deployments.delete(request.project, request.name)
        return pb.DeleteDeploymentResponse()

    def ListRevisions(
        self, request: pb.ListRevisionsRequest, context: grpc.ServicerContext
    ) -> pb.ListRevisionsResponse:
        """Return a deployment's history."""
        found = self._deployments.revisions(request.project, request.name)
        return pb.ListRevisionsResponse(revisions=[revision_message(one) for one in found])

    def GetRevision(self, request: pb.GetRevisionRequest, context: grpc.ServicerContext) -> pb.GetRevisionResponse:
        """Return a revision and its deployment."""
        revision, deployment = self._deployments.revision(request.id)
        return pb.GetRevisionResponse(revision=revision_message(revision), deployment=deployment_message(deployment))

    def WatchAssignments(
        self, request: pb.WatchAssignmentsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchAssignmentsResponse]:
        """Tell a server what to hold."""
        endpoint = Endpoint(rest_url=request.endpoint.rest_url, grpc_address=request.endpoint.grpc_address)
        watch = self._servers.watch(request.server, endpoint, self._connected(context), self._is_stopping)
        for found in watch:
            yield pb.WatchAssignmentsResponse(assignments=[assignment_message(one) for one in found])

    def ReportRevision(
        self, request: pb.ReportRevisionRequest, context: grpc.ServicerContext
    ) -> pb.ReportRevisionResponse:
        """Hear how a server got on."""
        self._servers.report(request.server, request.revision_id, state_from(request.state), request.error)
        return pb.ReportRevisionResponse()

    def _connected(self, context: grpc.ServicerContext) -> Callable[[], bool]:
        context.add_callback(lambda: self._signal.notify(CHANGES))
        return context.is_active

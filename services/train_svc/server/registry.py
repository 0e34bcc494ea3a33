"""`modelwright.train.v1.RegistryService`."""

import grpc

from proto.gen.modelwright.train.v1 import registry_pb2 as pb
from proto.gen.modelwright.train.v1 import registry_pb2_grpc
from services.common.jobs.wire import to_timestamp
from services.train_svc.server import wire
from services.train_svc.service import RegistryService


class RegistryServer(registry_pb2_grpc.RegistryServiceServicer):
    """Models, versions, aliases and lineage."""

    def __init__(self, registry: RegistryService) -> None:
        self._registry = registry

    def CreateModelVersion(
        self, request: pb.CreateModelVersionRequest, context: grpc.ServicerContext
    ) -> pb.CreateModelVersionResponse:
        """Register a package."""
        made = self._registry.create(wire.version_from_wire(request.version), wire.lease_from_wire(request.lease))
        return pb.CreateModelVersionResponse(version=wire.version_to_wire(made))

    def GetModelVersion(
        self, request: pb.GetModelVersionRequest, context: grpc.ServicerContext
    ) -> pb.GetModelVersionResponse:
        """Return a version."""
        found = self._registry.get(request.project, request.ref)
        return pb.GetModelVersionResponse(version=wire.version_to_wire(found))

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        """Return a page of models."""
        found, token = self._registry.models(request.project, request.page_size, request.page_token)
        return pb.ListModelsResponse(models=[wire.model_to_wire(model) for model in found], next_page_token=token)

    def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelVersionsResponse:
        """Return a page of a model's versions."""
        found, token = self._registry.versions(request.project, request.name, request.page_size, request.page_token)
        return pb.ListModelVersionsResponse(
            versions=[wire.version_to_wire(version) for version in found], next_page_token=token
        )

    def DeleteModelVersion(
        self, request: pb.DeleteModelVersionRequest, context: grpc.ServicerContext
    ) -> pb.DeleteModelVersionResponse:
        """Delete a version."""
        self._registry.delete(request.project, request.ref)
        return pb.DeleteModelVersionResponse()

    def SetAlias(self, request: pb.SetAliasRequest, context: grpc.ServicerContext) -> pb.SetAliasResponse:
        """Point an alias at a version."""
        model = self._registry.set_alias(
            request.project,
            request.name,
            request.alias,
            request.digest,
            actor=request.actor,
            reason=request.reason,
            expected=request.expected_digest if request.HasField("expected_digest") else None,
        )
        return pb.SetAliasResponse(model=wire.model_to_wire(model))

    def DeleteAlias(self, request: pb.DeleteAliasRequest, context: grpc.ServicerContext) -> pb.DeleteAliasResponse:
        """Take an alias away."""
        model = self._registry.delete_alias(
            request.project, request.name, request.alias, actor=request.actor, reason=request.reason
        )
        return pb.DeleteAliasResponse(model=wire.model_to_wire(model))

    def ListAliasEvents(
        self, request: pb.ListAliasEventsRequest, context: grpc.ServicerContext
    ) -> pb.ListAliasEventsResponse:
        """Return who moved the aliases."""
        events = [
            pb.AliasEvent(
                alias=event.alias,
                from_digest=event.from_digest,
                to_digest=event.to_digest,
                actor=event.actor,
                reason=event.reason,
                time=to_timestamp(event.time),
            )
            for event in self._registry.alias_events(request.project, request.name)
        ]
        return pb.ListAliasEventsResponse(events=events)

    def GetLineage(self, request: pb.GetLineageRequest, context: grpc.ServicerContext) -> pb.GetLineageResponse:
        """Return what something came from and led to."""
        found = self._registry.lineage(request.project, request.id)
        return pb.GetLineageResponse(
            nodes=[pb.LineageNode(kind=node.kind, id=node.id, title=node.title) for node in found.nodes],
            edges=[
                pb.LineageEdge(from_id=edge.from_id, to_id=edge.to_id, relation=edge.relation) for edge in found.edges
            ],
        )

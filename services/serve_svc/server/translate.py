"""Plain data to messages and back."""

from google.protobuf.timestamp_pb2 import Timestamp

from proto.gen.modelwright.common.v1.file_pb2 import File
from proto.gen.modelwright.serve.v1 import deployment_pb2 as pb
from services.common.errors import InvalidError
from services.serve_svc.engine.deployment import Assignment, Deployment, Revision, RevisionState

STATES = {state: pb.RevisionState.Value(f"REVISION_STATE_{state.name}") for state in RevisionState}
FROM_STATES: dict[int, RevisionState] = {value: state for state, value in STATES.items()}


def timestamp(time_s: float) -> Timestamp:
    """Return seconds since 1970 as a message."""
    found = Timestamp()
    found.FromMicroseconds(round(time_s * 1e6))
    return found


def revision_message(revision: Revision) -> pb.Revision:
    """Return a revision."""
    model = revision.model
    return pb.Revision(
        id=revision.id,
        number=revision.number,
        model_name=model.name,
        model_digest=model.digest,
        model_number=model.number,
        run_id=model.run_id,
        dataset_digest=model.dataset_digest,
        files=[File(path=file.path, digest=file.digest, size=file.size) for file in model.files],
        state=STATES[revision.state],
        error=revision.error,
        options_json=revision.options_json,
        created_at=timestamp(revision.created_at),
    )


def deployment_message(deployment: Deployment) -> pb.Deployment:
    """Return a deployment."""
    return pb.Deployment(
        project=deployment.project,
        name=deployment.name,
        model_ref=deployment.model_ref,
        active=revision_message(deployment.active) if deployment.active else None,
        desired=revision_message(deployment.desired) if deployment.desired else None,
        endpoints=[pb.Endpoint(rest_url=e.rest_url, grpc_address=e.grpc_address) for e in deployment.endpoints],
        created_at=timestamp(deployment.created_at),
    )


def assignment_message(assignment: Assignment) -> pb.Assignment:
    """Return an assignment."""
    return pb.Assignment(
        project=assignment.project,
        deployment=assignment.deployment,
        revision=revision_message(assignment.revision),
    )


def state_from(value: int) -> RevisionState:
    """Return the state that a message's number stands for."""
    found = FROM_STATES.get(value)
    if found is None:
        raise InvalidError(f"state {value} is not one of a revision", field="state")
    return found

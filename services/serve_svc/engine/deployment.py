"""Deployments and their revisions as plain data, and how a revision's state may change.

Times are seconds since 1970.
"""

from dataclasses import dataclass
from enum import StrEnum


class RevisionState(StrEnum):
    """Where a revision stands."""

    PENDING = "pending"
    """No server has it yet."""
    LOADING = "loading"
    """Some server fetches, builds or proves it."""
    READY = "ready"
    """Every live server has it; it takes the traffic."""
    FAILED = "failed"
    """A server refused it; the revision before goes on serving."""
    RETIRED = "retired"
    """Another took over."""


NEXT = {
    RevisionState.PENDING: {RevisionState.LOADING, RevisionState.READY, RevisionState.FAILED, RevisionState.RETIRED},
    RevisionState.LOADING: {RevisionState.READY, RevisionState.FAILED, RevisionState.RETIRED},
    RevisionState.READY: {RevisionState.RETIRED},
    RevisionState.FAILED: {RevisionState.RETIRED},
    RevisionState.RETIRED: set[RevisionState](),
}
"""The states that may follow each."""

UNSETTLED = frozenset({RevisionState.PENDING, RevisionState.LOADING})
"""Not yet known to work."""
ASSIGNED = UNSETTLED | {RevisionState.READY}
"""What servers shall hold."""


@dataclass(frozen=True, kw_only=True)
class PackageFile:
    """A file of a model package in the shared storage."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """What the registry says of the version that a reference names."""

    name: str
    number: int
    digest: str
    run_id: str = ""
    dataset_digest: str = ""
    files: tuple[PackageFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One version with one set of options under a deployment; only its state changes."""

    id: str
    deployment_id: str
    number: int
    model: ModelVersion
    state: RevisionState
    error: str = ""
    options_json: str = "{}"
    created_at: float
    activated_at: float | None = None
    """When it took the traffic; None if it never did."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where an inference server is reached."""

    rest_url: str
    grpc_address: str


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A name under which predictions are asked for."""

    id: str
    project: str
    name: str
    model_ref: str
    created_at: float
    active: Revision | None = None
    desired: Revision | None = None
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A revision that every inference server shall hold."""

    project: str
    deployment: str
    revision: Revision


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a live server last said of a revision."""

    server: str
    state: RevisionState
    error: str = ""


def judge(state: RevisionState, live: set[str], reports: list[Report]) -> tuple[RevisionState, str]:
    """Return the state, and the error with it, that follows from what the live servers report.

    One refusal fails a revision; it is ready once every live server has it.
    """
    told = {report.server: report for report in reports if report.server in live}
    for report in told.values():
        if report.state is RevisionState.FAILED:
            return RevisionState.FAILED, f"{report.server}: {report.error}"
    if live and all(name in told and told[name].state is RevisionState.READY for name in live):
        return RevisionState.READY, ""
    return (RevisionState.LOADING, "") if told else (state, "")

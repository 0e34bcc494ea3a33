"""Plain data of runs and models. Times are seconds since 1970; 0 means not yet."""

from dataclasses import dataclass, field
from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands; the same words as a job's."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = frozenset({RunState.QUEUED, RunState.RUNNING})
ENDED = frozenset(RunState) - ACTIVE


@dataclass(frozen=True, kw_only=True)
class File:
    """A file kept in the shared storage under its digest; `size` in bytes."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric. `value` may be NaN or infinite."""

    key: str
    step: int
    value: float
    time: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training: ours, or one that somebody else's program carries out."""

    id: str
    project: str
    name: str
    state: RunState
    dataset_digest: str = ""
    engine: str = ""
    seed: int = 0
    code_version: str = ""
    environment_json: str = ""
    hardware_json: str = ""
    spec_json: str = ""
    job_id: str = ""
    error: str = ""
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Point] = field(default_factory=dict)
    """Of each metric the point at the highest step."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one caller logs of one run.

    `points` are grouped by metric: (step, value, time) in the order of logging, NaN as None.
    """

    run_id: str
    points: dict[str, list[tuple[int, float | None, float]]] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many points it holds."""
        return sum(map(len, self.points.values()))


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one metric in the order of steps."""

    key: str
    steps: list[int]
    values: list[float]
    times: list[float]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The files from which a run can go on after `step`."""

    run_id: str
    step: int
    files: tuple[File, ...]
    created_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """An immutable model package. `digest` is its identity, `number` its place within the model."""

    project: str
    name: str
    digest: str = ""
    number: int = 0
    parent: str = ""
    run_id: str = ""
    dataset_digest: str = ""
    variant: str = "trained"
    card_json: str = ""
    signature_json: str = ""
    created_at: float = 0.0
    files: tuple[File, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Model:
    """A name under which versions are kept. `aliases` maps each alias to a digest."""

    project: str
    name: str
    latest: ModelVersion | None
    versions: int
    aliases: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class AliasEvent:
    """Who moved an alias, when, from where to where, and why. An empty digest is no version."""

    alias: str
    from_digest: str
    to_digest: str
    actor: str
    reason: str
    time: float


@dataclass(frozen=True, kw_only=True)
class LineageNode:
    """A dataset version, run or model version; `id` is its digest or the run's id."""

    kind: str
    id: str
    title: str


@dataclass(frozen=True, kw_only=True)
class LineageEdge:
    """`to_id` came from `from_id`."""

    from_id: str
    to_id: str
    relation: str


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What something came from and led to."""

    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]

"""What the server answers with, typed. Fields that a newer server adds are ignored."""

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from services.common.errors import ModelwrightError

ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""States that a job, a run or a lifecycle does not leave."""

T = TypeVar("T")


class JobFailedError(ModelwrightError):
    """A job that was waited for failed or was cancelled; the message is its error."""

    code = "job_failed"
    title = "Job failed"


class Record(msgspec.Struct, kw_only=True, frozen=True):
    """A thing the server keeps."""


class File(Record, frozen=True):
    """A file of a package, a checkpoint or a dataset: its relative path, digest and size in bytes."""

    path: str = ""
    digest: str = ""
    size: int = 0


class Upload(Record, frozen=True):
    """Bytes on their way to the server; a cut upload goes on at `received`."""

    id: str = ""
    filename: str = ""
    size: int = 0
    received: int = 0
    state: str = ""
    digest: str = ""


class Job(Record, frozen=True):
    """A long task: its state, progress (0 to 1), estimated seconds left, or why it waits."""

    id: str = ""
    project: str = ""
    kind: str = ""
    queue: str = ""
    state: str = ""
    attempt: int = 0
    priority: int = 0
    subject: str = ""
    progress: float = 0.0
    eta_s: float | None = None
    message: str = ""
    queue_position: int = 0
    waiting_reason: str = ""
    error: str = ""
    worker: str = ""
    cancel_requested: bool = False
    spec: Any = None
    result: Any = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED

    def successful(self) -> "Job":
        """Return the job, or raise `JobFailedError` if it ended otherwise."""
        if self.state != "succeeded":
            raise JobFailedError(f"{self.kind or 'job'} {self.id} {self.state}: {self.error or self.message}")
        return self


class LogLine(Record, frozen=True):
    """A line of a job's log; `seq` counts from 1."""

    seq: int = 0
    time: datetime | None = None
    stream: str = ""
    text: str = ""


class Worker(Record, frozen=True):
    """A worker process: its queues, slots, and when it was last heard of."""

    name: str = ""
    queues: list[str] = []
    slots: int = 0
    busy_slots: int = 0
    hardware: Any = None
    seen_at: datetime | None = None


class DatasetVersion(Record, frozen=True):
    """An immutable version of a dataset; `digest` is its identity."""

    project: str = ""
    name: str = ""
    number: int = 0
    digest: str = ""
    parent: str = ""
    samples: int = 0
    bytes: int = 0
    files: list[File] = []
    schema: Any = None
    statistics: Any = None
    created_at: datetime | None = None


class Dataset(Record, frozen=True):
    """A dataset's name, its newest version, and how many there are."""

    project: str = ""
    name: str = ""
    latest: DatasetVersion | None = None
    versions: int = 0


class Sample(Record, frozen=True):
    """A sample of a dataset version: id, split, labels, media type, digest, size in bytes, shape, seconds."""

    id: str = ""
    split: str = ""
    labels: list[str] = []
    media_type: str = ""
    digest: str = ""
    size: int = 0
    shape: list[int] = []
    duration_s: float = 0.0


class MetricPoint(Record, frozen=True):
    """A value of a metric at a step; `time` in seconds since 1970."""

    key: str = ""
    step: int = 0
    value: float | None = None
    time: float = 0.0


class MetricSeries(Record, frozen=True):
    """The points of one metric, by step."""

    key: str = ""
    steps: list[int] = []
    values: list[float | None] = []
    times: list[float] = []


class Run(Record, frozen=True):
    """A training run: what went in, what came out, on which machine."""

    id: str = ""
    project: str = ""
    name: str = ""
    state: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, MetricPoint] = {}
    dataset_digest: str = ""
    engine: str = ""
    seed: int = 0
    code_version: str = ""
    environment: Any = None
    hardware: Any = None
    spec: Any = None
    job_id: str = ""
    error: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED


class Checkpoint(Record, frozen=True):
    """Files that a run can go on from, and the step they were written at."""

    run_id: str = ""
    step: int = 0
    files: list[File] = []
    created_at: datetime | None = None


class ModelVersion(Record, frozen=True):
    """An immutable version of a model; `digest`, that of its package, is its identity."""

    project: str = ""
    name: str = ""
    number: int = 0
    digest: str = ""
    parent: str = ""
    run_id: str = ""
    dataset_digest: str = ""
    variant: str = ""
    files: list[File] = []
    card: Any = None
    signature: Any = None
    aliases: list[str] = []
    created_at: datetime | None = None


class Model(Record, frozen=True):
    """A model's name, its newest version, how many there are, and alias to digest."""

    project: str = ""
    name: str = ""
    latest: ModelVersion | None = None
    versions: int = 0
    aliases: dict[str, str] = {}


class AliasEvent(Record, frozen=True):
    """Who moved which alias from where to where, when and why."""

    alias: str = ""
    from_digest: str = ""
    to_digest: str = ""
    actor: str = ""
    reason: str = ""
    time: datetime | None = None


class LineageNode(Record, frozen=True):
    """A thing in a lineage: its kind, its digest or id, and a title to show."""

    kind: str = ""
    id: str = ""
    title: str = ""


class LineageEdge(Record, frozen=True):
    """How one thing led to another: "trained_on", "produced", "compressed_to" ..."""

    from_id: str = ""
    to_id: str = ""
    relation: str = ""


class Lineage(Record, frozen=True):
    """What something came from and led to."""

    nodes: list[LineageNode] = []
    edges: list[LineageEdge] = []


class Variant(Record, frozen=True):
    """A compressed version: its digest, report card, and whether it pays."""

    name: str = ""
    digest: str = ""
    card: Any = None
    verdict: str = ""
    reason: str = ""


class Compression(Record, frozen=True):
    """A request to make a model smaller, and what came of it."""

    id: str = ""
    project: str = ""
    model_name: str = ""
    parent: str = ""
    dataset_digest: str = ""
    recipe: Any = None
    variants: list[Variant] = []
    job_id: str = ""
    created_at: datetime | None = None


class Revision(Record, frozen=True):
    """A state of a deployment: which version it serves and how."""

    id: str = ""
    number: int = 0
    model_name: str = ""
    model_digest: str = ""
    model_number: int = 0
    run_id: str = ""
    dataset_digest: str = ""
    state: str = ""
    error: str = ""
    options: Any = None
    created_at: datetime | None = None


class Endpoint(Record, frozen=True):
    """Where a deployment answers the Open Inference Protocol."""

    rest_url: str = ""
    grpc_address: str = ""


class Deployment(Record, frozen=True):
    """A name that predictions are asked of; `active` takes the traffic, `desired` is on its way."""

    project: str = ""
    name: str = ""
    model_ref: str = ""
    active: Revision | None = None
    desired: Revision | None = None
    endpoints: list[Endpoint] = []
    created_at: datetime | None = None


class Score(Record, frozen=True):
    """A label and how sure the model is of it."""

    label: str = ""
    score: float = 0.0


class Answer(Record, frozen=True):
    """The likeliest label of one input, its score, and the runners-up."""

    label: str = ""
    score: float = 0.0
    top: list[Score] = []


class Prediction(Record, frozen=True):
    """An answer and what it came from."""

    id: str = ""
    model: str = ""
    model_digest: str = ""
    run: str = ""
    dataset: str = ""
    deployment: str = ""
    revision: Any = None
    outputs: Any = None
    predictions: list[Answer] = []
    latency_ms: float = 0.0


def to_record(kind: type[T], value: Any) -> T:  # noqa: ANN401 - decoded JSON
    """Return decoded JSON as `kind`; a null counts as absent, integers may come as strings (ProtoJSON)."""
    return msgspec.convert(_without_nulls(value), kind, strict=False)


def to_plain(value: Any) -> Any:  # noqa: ANN401 - records in any nesting
    """Return records as JSON values: dictionaries, lists, strings, numbers."""
    return msgspec.to_builtins(value)


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - decoded JSON
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) if isinstance(item, dict | list) else item for item in value]
    return value

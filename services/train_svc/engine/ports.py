"""What the engine needs of the world, as small Protocols; `services.train_svc.tasks` brings the wires."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of one metric."""

    key: str
    """Such as `train_loss`."""
    step: int
    """Steps made when it was measured; 1 after the first."""
    value: float
    """Finite."""


class MetricSink(Protocol):
    """Where metrics go. It never blocks training."""

    def log(self, points: Sequence[Point]) -> None:
        """Take the points; a repeated (key, step) changes nothing.

        Raises:
            StaleLeaseError: the job belongs to another worker by now.
        """


class ProgressSink(Protocol):
    """Who is told how far the work is."""

    def report(self, *, progress: float, eta_s: float | None, message: str) -> None:
        """Take the share done (0 to 1), the estimated seconds left, and a line for people."""


class CheckpointSink(Protocol):
    """Where checkpoints are kept once their folder is written."""

    def save(self, folder: Path, step: int) -> None:
        """Keep the folder's files, and only then make the checkpoint known.

        Raises:
            UnavailableError: the storage is away; it is tried again.
            StorageFullError: no room; it is tried again.
            StaleLeaseError: the job belongs to another worker by now.
        """


class StopSignal(Protocol):
    """Says whether the work shall checkpoint and leave."""

    def __call__(self) -> bool:
        """Return True once it shall."""


class NoMetrics:
    """Drops metrics."""

    def log(self, points: Sequence[Point]) -> None:
        """Drop them."""


class NoProgress:
    """Tells nobody."""

    def report(self, *, progress: float, eta_s: float | None, message: str) -> None:
        """Drop it."""


class NoSink:
    """Leaves checkpoints where they were written."""

    def save(self, folder: Path, step: int) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Whom a run talks to."""

    metrics: MetricSink = field(default_factory=NoMetrics)
    """Gets every step's metrics."""
    progress: ProgressSink = field(default_factory=NoProgress)
    """Told a few times a second."""
    checkpoints: CheckpointSink = field(default_factory=NoSink)
    """Keeps checkpoints."""
    stop: StopSignal = lambda: False
    """Asked before every step."""

"""The report card of a model: where it came from and what was measured of it."""

from typing import Any

import msgspec

from services.common.errors import InvalidError

FORMAT = 1
"""Version of the card's own form."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A measured figure with its confidence interval."""

    value: float
    """The estimate."""
    ci_low: float
    """Lower end of the 95% interval."""
    ci_high: float
    """Upper end."""
    samples: int
    """Number of samples it was measured on."""
    split: str
    """Their split, such as `test`."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A difference with its 95% interval."""

    value: float
    """The estimate."""
    ci_low: float
    """Lower end."""
    ci_high: float
    """Upper end."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one call of the session, on one named device."""

    device: str
    """Such as the name of the CPU."""
    threads: int
    """Intra-op threads."""
    batch: int
    """Samples a call."""
    p50_ms: float
    """Median."""
    p99_ms: float
    """99th percentile."""
    runs: int
    """Calls measured."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a variant is worth having here."""

    pays: bool
    """False: its parent does as well or better on this machine."""
    reason: str
    """For people."""


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What card.json says."""

    format: int = FORMAT
    """FORMAT of the writer."""
    name: str
    """The model's name."""
    variant: str
    """`trained`, `fp32`, `int8`, `fp16` or another."""
    parent: str | None = None
    """Digest of the package it was made from."""
    run: str = ""
    """Id of the training run."""
    dataset: str = ""
    """Digest of the dataset version."""
    recipe: dict[str, Any] = msgspec.field(default_factory=dict)
    """How it was made."""
    metrics: dict[str, Metric] = msgspec.field(default_factory=dict)
    """By name, `accuracy` first of all."""
    size_bytes: int = 0
    """Of model.onnx, and of model.onnx.data where there is one."""
    latency: tuple[Latency, ...] = ()
    """The first entry with batch 1 gives the gate's figures."""
    accuracy_drop: Interval | None = None
    """Against the parent, on the same samples; positive is worse."""
    size_ratio: float | None = None
    """Size as a share of the parent's; None if there is none to compare with."""
    speedup: float | None = None
    """The parent's median latency over this one's on the same device."""
    verdict: Verdict | None = None
    """None: not judged."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if self.format != FORMAT:
            raise InvalidError(f"card format {self.format} is not known; this version reads {FORMAT}", field="format")

    def figures(self, parent: "Card | None" = None) -> dict[str, float]:
        """Return the gate's flat figures; those not measured are missing.

        `parent` gives size_ratio, speedup and accuracy_drop where the card itself does not state them. A
        model without a parent is its own measure: drop 0, ratio 1, speedup 1.
        """
        figures = {name: metric.value for name, metric in self.metrics.items()}
        figures["size_bytes"] = float(self.size_bytes)
        mine = self.latency_of()
        if mine:
            figures |= {"p50_ms": mine.p50_ms, "p99_ms": mine.p99_ms}
        if self.parent is None:
            figures |= {"size_ratio": 1.0, "speedup": 1.0, "accuracy_drop": 0.0}
        elif parent is not None:
            figures |= self._against(parent)
        stated = {"size_ratio": self.size_ratio, "speedup": self.speedup}
        figures |= {name: value for name, value in stated.items() if value is not None}
        if self.accuracy_drop is not None:
            figures["accuracy_drop"] = self.accuracy_drop.value
        return figures

    def latency_of(self, device: str = "") -> Latency | None:
        """Return the first latency with batch 1, of `device` if one is named."""
        return next((found for found in self.latency if found.batch == 1 and device in {"", found.device}), None)

    def _against(self, parent: "Card") -> dict[str, float]:
        figures: dict[str, float] = {}
        if parent.size_bytes:
            figures["size_ratio"] = self.size_bytes / parent.size_bytes
        mine = self.latency_of()
        theirs = parent.latency_of(mine.device) if mine else None
        if mine and theirs and mine.p50_ms:
            figures["speedup"] = theirs.p50_ms / mine.p50_ms
        if "accuracy" in self.metrics and "accuracy" in parent.metrics:
            figures["accuracy_drop"] = parent.metrics["accuracy"].value - self.metrics["accuracy"].value
        return figures


FIGURES = ("accuracy", "accuracy_drop", "size_bytes", "size_ratio", "p50_ms", "p99_ms", "speedup")
"""Names that a gate may bound, beside those of other metrics."""

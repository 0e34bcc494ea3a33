"""The report card of a variant: what was measured, and whether it pays on this machine."""

from dataclasses import dataclass
from typing import Any, Literal

from services.compress_svc.engine.evaluation import Deviation
from services.compress_svc.engine.latency import Race
from services.compress_svc.engine.statistics import Estimate

FASTER = 1.05
"""A speed-up whose whole interval lies above this counts; less drowns in the noise of a served request."""
SMALLER = 0.9
"""A file below this share of the parent's counts as smaller."""

PaysFor = Literal["speed and size", "speed", "size", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether to take the variant, and why."""

    pays: bool
    pays_for: PaysFor
    reason: str

    def to_mapping(self) -> dict[str, Any]:
        """Return the form kept in the card."""
        return {"pays": self.pays, "for": self.pays_for, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything measured of a variant."""

    variant: str
    size_bytes: int
    parent_size_bytes: int
    deviation: Deviation
    race: Race
    """Parent and variant interleaved; the baseline runs against itself, which shows the noise."""
    baseline: bool
    """The graph is the parent's own."""
    accuracy: Estimate | None
    """None where the evaluation has no labelled samples."""
    parent_accuracy: Estimate | None
    accuracy_drop: Estimate | None
    samples: int
    """Labelled samples of the evaluation."""
    split: str = "test"

    @property
    def size_ratio(self) -> float:
        """Size of the file over the parent's."""
        return self.size_bytes / self.parent_size_bytes


def judge(figures: Figures, max_accuracy_drop: float) -> Verdict:
    """Return the verdict on this machine; it always names the figures that it rests on."""
    if figures.baseline:
        return Verdict(pays=True, pays_for="nothing", reason="The baseline: the exported graph as it is.")
    speed, ratio = figures.race.speedup, figures.size_ratio
    name = figures.variant.upper()
    facts = f"{name} runs at {speed.value:.2f}x the speed of its parent here, has {ratio:.2f}x its size"
    drop = figures.accuracy_drop
    facts += f" and {_drop_words(drop)}" if drop else "; accuracy was not measured"
    if drop and drop.value > max_accuracy_drop:
        return Verdict(
            pays=False,
            pays_for="nothing",
            reason=f"Does not pay: {facts}, more than the {max_accuracy_drop:g} allowed.",
        )
    pays_for = _pays_for(speed, ratio)
    if pays_for == "nothing":
        return Verdict(pays=False, pays_for=pays_for, reason=f"Does not pay here: {facts}.")
    words = {"speed and size": "Pays for speed and size", "speed": "Pays for speed", "size": "Pays for size only"}
    return Verdict(pays=True, pays_for=pays_for, reason=f"{words[pays_for]}: {facts}.")


def _pays_for(speed: Estimate, ratio: float) -> PaysFor:
    faster, smaller = speed.ci_low > FASTER, ratio < SMALLER
    if faster and smaller:
        return "speed and size"
    if faster:
        return "speed"
    return "size" if smaller else "nothing"


def _drop_words(drop: Estimate) -> str:
    points = f"(95% interval {100 * drop.ci_low:+.2f} to {100 * drop.ci_high:+.2f} points)"
    if drop.value > 0:
        return f"loses {100 * drop.value:.2f} points of accuracy {points}"
    return (
        f"gains {-100 * drop.value:.2f} points of accuracy {points}"
        if drop.value < 0
        else f"loses no accuracy {points}"
    )


def report_card(figures: Figures, verdict: Verdict) -> dict[str, Any]:
    """Return the measured part of `card.json`; gate figures are read off it by their flat names."""
    card: dict[str, Any] = {
        "variant": figures.variant,
        "size_bytes": figures.size_bytes,
        "size_ratio": figures.size_ratio,
        "deviation": figures.deviation.to_mapping(),
        "verdict": verdict.to_mapping(),
    }
    if figures.accuracy:
        measured = {"samples": figures.samples, "split": figures.split}
        card["metrics"] = {"accuracy": figures.accuracy.to_mapping() | measured}
        if figures.parent_accuracy:
            card["parent_metrics"] = {"accuracy": figures.parent_accuracy.to_mapping() | measured}
    if figures.accuracy_drop:
        card["accuracy_drop"] = figures.accuracy_drop.to_mapping() | {"method": "Newcombe 1998, method 10, paired"}
    card["latency"] = [figures.race.variant.to_mapping()]
    card["parent_latency"] = [figures.race.parent.to_mapping()]
    card["speedup"] = figures.race.speedup.value
    card["speedup_interval"] = figures.race.speedup.to_mapping()
    return card

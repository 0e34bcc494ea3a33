"""Which sample goes to which split: the same for the same ids and seed, in whatever order they come."""

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass, field

from services.common.errors import InvalidError
from services.common.names import check_name
from services.data_svc.engine.findings import Findings

DEFAULT_FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
TOLERANCE = 1e-6
MAX_SPLITS = 16


@dataclass(frozen=True, kw_only=True)
class SplitPolicy:
    """How to divide the samples."""

    fractions: dict[str, float] = field(default_factory=dict)
    """Split name to share; the shares add up to 1. Empty: as the layout says, or 0.8 / 0.1 / 0.1."""
    seed: int = 0
    """Another seed gives another division."""
    stratify: bool = False
    """Divide each class by itself, so that every split has the same class shares."""

    def __post_init__(self) -> None:
        """Refuse shares that are no shares."""
        for name, share in self.fractions.items():
            check_name(name, "split")
            if not (math.isfinite(share) and 0 < share <= 1):
                raise InvalidError(
                    f"split.{name} is {share}, which leaves the split empty or is no fraction; give more than 0 and "
                    "at most 1, or leave the split out",
                    field=f"split.{name}",
                )
        if len(self.fractions) > MAX_SPLITS:
            raise InvalidError(f"there are {len(self.fractions)} splits; the limit is {MAX_SPLITS}", field="split")
        total = math.fsum(self.fractions.values())
        if self.fractions and abs(total - 1) > TOLERANCE:
            raise InvalidError(f"the fractions add up to {total:g}; they must add up to 1", field="split")

    @property
    def shares(self) -> dict[str, float]:
        """The fractions, or the default ones, the largest first.

        Mappings come off the wire in any order; the division must not depend on it.
        """
        stated = self.fractions or DEFAULT_FRACTIONS
        return dict(sorted(stated.items(), key=lambda item: (-item[1], item[0])))


def divide(samples: dict[str, tuple[str, str]], policy: SplitPolicy, findings: Findings) -> dict[str, str]:
    """Return the split of each sample.

    Samples with equal bytes go to the same split, for a copy of a training sample in the test split would
    make the test worthless.

    Args:
        samples: id to (label, digest).
        policy: the shares.
        findings: takes classes that are too small, and splits that stay empty.
    """
    twins: dict[str, list[str]] = defaultdict(list)
    for name, (_, digest) in samples.items():
        twins[digest].append(name)
    strata: dict[str, list[str]] = defaultdict(list)
    for group in twins.values():
        first = min(group)
        strata[samples[first][0] if policy.stratify else ""].append(first)
    splits: dict[str, str] = {}
    for label, names in sorted(strata.items()):
        _divide_one(label, names, policy, splits, findings)
    return {name: splits[min(twins[digest])] for name, (_, digest) in samples.items() if min(twins[digest]) in splits}


def _divide_one(label: str, names: list[str], policy: SplitPolicy, splits: dict[str, str], findings: Findings) -> None:
    shares = policy.shares
    if len(names) < len(shares):
        findings.fault(*_too_few(label, len(names), policy))
        return
    names.sort(key=lambda name: hashlib.sha256(f"{policy.seed}\n{name}".encode()).digest())
    start = 0
    for split, count in quotas(len(names), shares).items():
        splits.update(dict.fromkeys(names[start : start + count], split))
        start += count


def _too_few(label: str, count: int, policy: SplitPolicy) -> tuple[str, str]:
    splits = ", ".join(policy.shares)
    if policy.stratify:
        return f"class {label}", (
            f"has {count} different samples, too few to have one in each of {splits}; add samples, leave the class "
            "out, or set stratify to false"
        )
    return "split", f"{count} different samples cannot fill {splits}: a split would be empty; add samples"


def quotas(count: int, shares: dict[str, float]) -> dict[str, int]:
    """Return how many of `count` (at least one a split) go to each split: largest remainders, none empty."""
    exact = {split: count * share for split, share in shares.items()}
    given = {split: max(1, math.floor(value + TOLERANCE)) for split, value in exact.items()}
    while (total := sum(given.values())) != count:
        step = 1 if total < count else -1
        movable = [split for split in shares if step > 0 or given[split] > 1]
        chosen = max(movable, key=lambda split: (step * (exact[split] - given[split]), -list(shares).index(split)))
        given[chosen] += step
    return given

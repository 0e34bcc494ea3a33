"""Which operators leave the base precision, by what was measured."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.train_svc.engine.precision.policy import Base, Operator
from services.train_svc.engine.reading import Checked, setting

ROUNDOFF = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""Largest relative error of one rounding."""
ENOUGH = 4
"""Operators of which there is a median worth the name."""
WHAT = {
    "forward_error": "output off by {error}, limit {limit}",
    "gradient_error": "gradient off by {error}, limit {limit}",
    "onward_error": "its rounding becomes {error} in what takes it, limit {limit}",
}
"""The errors that are judged, and what is said of those beyond their limit."""


@dataclass(frozen=True, kw_only=True)
class Limits(Checked):
    """What an operator may do in the base precision.

    An overflow is never allowed. An error counts if it is beyond both bounds. The first is the format's own: a sum of
    rounded products errs by about one roundoff whatever its length if it is kept in float32, as all matrix units do.
    The second keeps an operator that is no worse than the others where all are worse. An underflow counts by the error
    that it makes: most gradients that vanish beside larger ones are of no account (Micikevicius et al. 2018, arXiv
    1710.03740).
    """

    roundoffs: float = setting(16.0, above=0)
    """Errors up to so many roundings of the format (fp16: 0.05% each; bf16: 0.4%) are its own and stay."""
    multiple: float = setting(4.0, least=1)
    """Errors up to so many times the median of all operators stay."""
    loss_scale: float = setting(65536.0, above=0)
    """Largest factor of gradients in fp16; less is taken where gradients would overflow, as in training."""
    gradient_range: float = setting(256.0, least=1)
    """How many times the median operator's largest gradient an operator's may be for the loss scale to heed it. One
    beyond that overflows, and so leaves fp16, rather than costs all others the small end of their range."""
    calls: int = setting(4, least=1)
    """Of an operator that runs many times in a pass, such as one in a loop over frames, so many runs are measured,
    from the first to the last."""


def decide(operators: Sequence[Operator], base: Base, limits: Limits) -> tuple[Operator, ...]:
    """Return the operators with their precision and its reason, by their measures."""
    bounds = {name: _bound([getattr(each, name) for each in operators], base, limits) for name in WHAT}
    return tuple(_decided(each, base, bounds) for each in operators)


def _bound(errors: Sequence[float], base: Base, limits: Limits) -> float:
    # An operator without error, such as one that autocast keeps in float32, says nothing of the others.
    found = [error for error in errors if error]
    usual = statistics.median(found) if len(found) >= ENOUGH else 0.0
    return max(limits.roundoffs * ROUNDOFF[base], limits.multiple * usual)


def _decided(operator: Operator, base: Base, bounds: Mapping[str, float]) -> Operator:
    reasons = [f"{_share(operator.overflow)} of its numbers overflow"] if operator.overflow else []
    for name, bound in bounds.items():
        error = getattr(operator, name)
        if error > bound:
            reasons.append(WHAT[name].format(error=_share(error), limit=_share(bound)))
    if reasons and operator.underflow:
        reasons.append(f"{_share(operator.underflow)} of its numbers become zero")
    return replace(operator, precision="fp32" if reasons else base, reason="; ".join(reasons))


def _share(value: float) -> str:
    return f"{100 * value:.2g}%"

"""The precision of every operator of one model, as it was measured and as its user wants it."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from services.common.errors import Violation
from services.common.names import nearest
from services.train_svc.engine.reading import check, invalid, setting

Base = Literal["fp16", "bf16"]
Format = Literal["fp16", "bf16", "fp32"]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One module that computes something itself, alone in the base precision on the values of a float32 run."""

    name: str
    """Path of the module in the model; empty: the model's own forward."""
    precision: Format
    """In which it shall run."""
    forward_error: float = setting(0.0, least=0)
    """Norm of the output's difference from float32, over the norm of the output."""
    gradient_error: float = setting(0.0, least=0)
    """The same of the gradients of its inputs or of its parameters, whichever is more."""
    onward_error: float = setting(0.0, least=0)
    """What the rounding of its output alone becomes in the output of what takes it; of several, the most."""
    overflow: float = setting(0.0, least=0, most=1)
    """Share of its values and gradients that are finite in float32 and not in the base precision."""
    underflow: float = setting(0.0, least=0, most=1)
    """Share of its values and gradients that are not zero in float32 and zero in the base precision."""
    kind: str = ""
    """What it is, such as `Linear`."""
    reason: str = ""
    """Why it has its precision; empty: nothing stands out."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a whole pass is from float32; None: not finite."""

    loss: float | None = None
    """Of the mean loss, over its float32 value."""
    gradient: float | None = None
    """Norm of the difference of all parameters' gradients, over the norm of the gradients."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A base precision, what was measured in it, and what the user sets instead.

    A pattern of `force` names operators as a shell names files (`*`, `?`, `[ab]`), and all that is inside what it
    names. It wins over the measured; of several that fit, the last one does.
    """

    model: str = ""
    """Whose operators these are."""
    base: Base
    """Of all that nothing else is said of."""
    loss_scale: float = setting(1.0, above=0)
    """By which gradients were multiplied when they were measured."""
    plain: Difference | None = None
    """Of the engine's own mixed precision."""
    measured: Difference | None = None
    """Of the same with the operators below as they are."""
    force: dict[str, Format] = dataclasses.field(default_factory=dict)
    """Precision by pattern."""
    operators: tuple[Operator, ...] = ()
    """In the order in which they run."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: a value is wrong, a name comes twice, or a pattern of `force` fits nothing.
        """
        check(self, "policy")
        found: list[Violation] = []
        names: set[str] = set()
        for index, operator in enumerate(self.operators):
            if operator.name in names:
                message = f"{operator.name!r} comes twice; leave one of them out"
                found.append(Violation(field=f"policy.operators[{index}].name", message=message))
            names.add(operator.name)
        if names:
            found += unmatched(self.force, names)
        if found:
            raise invalid(found)

    def precision_of(self, name: str) -> Format:
        """Return the precision of the module of this path."""
        forced = [precision for pattern, precision in self.force.items() if fits(pattern, name)]
        if forced:
            return forced[-1]
        return next((each.precision for each in self.operators if each.name == name), self.base)


def fits(pattern: str, name: str) -> bool:
    """Return whether a pattern names this module, or one that it is inside of."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def unmatched(patterns: Iterable[str], names: Iterable[str]) -> list[Violation]:
    """Return a violation for each pattern that fits none of the names."""
    known = list(names)
    return [
        Violation(
            field=f"policy.force.{pattern}",
            message=f"no operator has a name that fits {pattern!r}{nearest(pattern, known)}",
        )
        for pattern in patterns
        if not any(fits(pattern, name) for name in known)
    ]

"""The `search:` section of a training file, checked once it exists. Loads no Optuna."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.common.errors import Violation
from services.common.names import nearest
from services.train_svc.engine.reading import Checked, Named, fault, setting

Kind = Literal["log", "float", "int", "log_int", "choice"]
KINDS: tuple[Kind, ...] = ("log", "float", "int", "log_int", "choice")
WHOLE = ("int", "log_int")
ENDS = 2
PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What one setting may be: `{log: [1e-5, 1e-2]}`, `{float: [0, 0.5]}`, `{int: [5, 20]}`, `{choice: [16, 32]}`."""

    kind: Kind
    """log: evenly over the logarithm; log_int: the same in whole numbers; float; int; choice."""
    low: float = 0.0
    """Least value of a range; it may be drawn."""
    high: float = 0.0
    """Largest value of a range; it may be drawn."""
    choices: tuple[Any, ...] = ()
    """Values of a choice."""

    @classmethod
    def from_data(cls, value: object, path: str, found: list[Violation]) -> "Parameter | None":
        """Return the parameter of plain data, or note in `found` why there is none."""
        if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in KINDS:
            found.append(Violation(field=path, message=_misread(value)))
            return None
        kind, given = next(iter(value.items()))
        message = _wrong_choice(given) if kind == "choice" else _wrong_range(kind, given)
        if message:
            found.append(Violation(field=f"{path}.{kind}", message=message))
            return None
        if kind == "choice":
            return cls(kind=kind, choices=tuple(given))
        return cls(kind=kind, low=_number(given[0]), high=_number(given[1]))

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values that must be valid for all others to be: both ends of a range, or every choice."""
        if self.kind == "choice":
            return self.choices
        return (int(self.low), int(self.high)) if self.kind in WHOLE else (self.low, self.high)

    def to_data(self) -> dict[str, Any]:
        """Return it as it was given."""
        return {self.kind: list(self.extremes)}


@dataclass(frozen=True, kw_only=True)
class PrunerSpec(Named):
    """When a trial that falls behind ends. The name alone may stand for it: `pruner: none`."""

    name: Literal["asha", "none"] = "asha"
    """Successive halving without waiting (ASHA, Li et al. 2020, arXiv 1810.05934): after `min_epochs`, and each time
    that the epochs have grown by `factor`, the best 1/factor of the trials that came so far go on; or every trial runs
    to its end."""
    min_epochs: int = setting(1, least=1)
    """Epochs that every trial is given."""
    factor: int = setting(3, least=2, most=100)
    """How many trials there are for one that goes on."""


@dataclass(frozen=True, kw_only=True)
class SearchSpec(Checked):
    """How hyper-parameters are searched."""

    parameters: dict[str, Parameter]
    """What each setting of `train` may be, by its path: `optimizer.lr: {log: [1e-5, 1e-2]}`."""
    trials: int = setting(20, least=1, most=100_000)
    """Runs; those that fail or are pruned count."""
    metric: str = ""
    """What is searched by, with or without `validation_`; empty: the one that belongs to the loss."""
    direction: Literal["auto", "maximize", "minimize"] = "auto"
    """Where it shall go; auto: errors and losses down, all else up."""
    pruner: PrunerSpec = PrunerSpec()
    """When a trial that falls behind ends."""
    random_trials: int = setting(10, least=1)
    """Trials drawn at random before TPE (Bergstra et al. 2011; multivariate, Falkner et al. 2018) learns from them."""
    seed: int = setting(0, least=0, below=2**63)
    """Of the draws. A trial's are a function of it, the trial's number, and what trials before it gave."""
    timeout_s: float = setting(0.0, least=0)
    """Seconds after which no further trial begins; 0: none."""
    parallel: int = setting(1, least=1, most=256)
    """Processes that run trials at the same time, on this machine."""
    keep: int = setting(1, least=0)
    """Of how many of the best trials the checkpoints are kept; curves and figures of all are."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        super().__post_init__()
        if not self.parameters:
            raise fault("parameters", "is empty; name what is searched, such as optimizer.lr: {log: [1e-5, 1e-2]}")

    def to_data(self) -> dict[str, Any]:
        """Return what decides which trials there are, as plain data."""
        return {
            "parameters": {name: each.to_data() for name, each in self.parameters.items()},
            "metric": self.metric,
            "direction": self.direction,
            "pruner": vars(self.pruner),
            "random_trials": self.random_trials,
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What a search wants."""

    metric: str
    """Name of what is measured after each epoch, with `validation_`."""
    rises: bool
    """Whether more of it is better."""

    def key(self, value: float) -> float:
        """Return a number by which values sort best first."""
        return -value if self.rises else value


def _misread(value: object) -> str:
    wanted = "{log: [1e-5, 1e-2]}, {float: [0, 0.5]}, {int: [5, 20]}, {log_int: [16, 512]} or {choice: [16, 32]}"
    hint = nearest(str(next(iter(value))), KINDS) if isinstance(value, Mapping) and len(value) == 1 else ""
    return f"got {value!r}, wanted one of {wanted}{hint}"


def _wrong_choice(given: object) -> str:
    if not isinstance(given, list | tuple) or not given:
        return f"got {given!r}, wanted a list of values"
    wrong = [value for value in given if not isinstance(value, PLAIN)]
    if wrong:
        return f"got {wrong[0]!r}, wanted plain values: search single settings of it instead"
    return "" if len(set(map(repr, given))) == len(given) else f"got {list(given)!r}, in which a value stands twice"


def _wrong_range(kind: str, given: object) -> str:
    if not isinstance(given, list | tuple) or len(given) != ENDS:
        return f"got {given!r}, wanted its two ends, such as [1e-5, 1e-2]"
    low, high = map(_number, given)
    if low != low or high != high:  # noqa: PLR0124 - what is no number
        return f"got {list(given)!r}, wanted two numbers"
    if not low < high:
        return f"got {list(given)!r}, wanted the smaller end first"
    if kind.startswith("log") and low <= 0:
        return f"got {list(given)!r}, wanted ends above 0, as a logarithm needs"
    whole = kind not in WHOLE or (low == int(low) and high == int(high))
    return "" if whole else f"got {list(given)!r}, wanted whole numbers"


def _number(value: object) -> float:
    # YAML 1.1 reads 1e-5, which has no dot, as text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except ValueError:
        return float("nan")

"""What a user's own objects may be told of a run: small Protocols of one method each."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from services.common.errors import ModelwrightError
from services.common.names import nearest
from services.train_svc.engine.reading import fault
from services.train_svc.engine.training.learner import Measured


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What is known of a run before its first step."""

    total_steps: int
    """Steps of the whole run."""
    steps_per_epoch: int
    """Steps in an epoch."""
    batch_size: int
    """Samples a step."""
    parameters: int
    """Numbers that are learnt."""
    device: str = "cpu"
    """Name of what computes, such as `NVIDIA H200`."""
    precision: str = "fp32"
    """Number format of the large products: fp32, tf32, fp16, bf16 or fp8."""
    flops_per_step: float | None = None
    """Floating point operations of a step, forward and backward, without recomputation; None: not known."""
    peak_flops: float | None = None
    """Most of them that the device makes a second in that precision, dense; None: not known."""
    tokens_per_step: int | None = None
    """Tokens a step, where a model reads text; None: throughput is told in samples."""
    first_step: int = 0
    """Steps that were made before, by the attempt that this one goes on from."""
    watched: str = ""
    """The metric that the best checkpoints go by, such as `validation_accuracy`; empty: none."""
    peak_bytes: Callable[[], int] = lambda: 0
    """Gives the most memory of the device that was taken so far; 0: not known. Called a few times a second."""

    @property
    def epochs(self) -> int:
        """Passes over the data."""
        return -(-self.total_steps // max(1, self.steps_per_epoch))


@runtime_checkable
class OnFitBegin(Protocol):
    """Told once, before the first step."""

    def on_fit_begin(self, run: RunFacts) -> None:
        """Take in what is known of the run."""


@runtime_checkable
class OnStep(Protocol):
    """Told of every step, some steps after it where the device is not waited for."""

    def on_step(self, measured: Measured, rate: float) -> None:
        """Take in what a step measured, and its learning rate. Its time is training's: keep it short."""


@runtime_checkable
class OnEvaluation(Protocol):
    """Told of every evaluation."""

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the steps made and what was measured, by name."""


@runtime_checkable
class OnCheckpoint(Protocol):
    """Told of every checkpoint."""

    def on_checkpoint(self, step: int, folder: Path) -> None:
        """Take in the steps made and where it is written; it may still be on its way there."""


@runtime_checkable
class OnFitEnd(Protocol):
    """Told once, when the run is over; not if it fails."""

    def on_fit_end(self, result: Any) -> None:  # noqa: ANN401 - what `fit` returns
        """Take in what `fit` returns."""


KNOWN = ("on_fit_begin", "on_step", "on_evaluation", "on_checkpoint", "on_fit_end")
"""The methods; an object may have any of them, and `close()`, which is called at the end in any case."""


class CallbackError(ModelwrightError):
    """A callback failed; the message names its class."""

    code = "callback_failed"
    title = "Callback failed"


class Callbacks:
    """Callbacks in the order given; each is called for the methods that it has.

    Args:
        given: objects with some of the methods in `KNOWN`.

    Raises:
        InvalidError: an object has none of them.
    """

    def __init__(self, given: Iterable[object] = ()) -> None:
        self._given = tuple(given)
        for place, callback in enumerate(self._given):
            _check(callback, f"callbacks[{place}]")
        # Looked up once: a step of a small model takes less than a millisecond.
        self._calls = {name: self._having(name) for name in (*KNOWN, "close")}

    def on_fit_begin(self, run: RunFacts) -> None:
        """Tell that a run begins."""
        self._call("on_fit_begin", run)

    def on_step(self, measured: Measured, rate: float) -> None:
        """Tell of a step."""
        self._call("on_step", measured, rate)

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell of an evaluation."""
        self._call("on_evaluation", step, metrics)

    def on_checkpoint(self, step: int, folder: Path) -> None:
        """Tell of a checkpoint."""
        self._call("on_checkpoint", step, folder)

    def on_fit_end(self, result: Any) -> None:  # noqa: ANN401 - what `fit` returns
        """Tell that the run is over."""
        self._call("on_fit_end", result)

    def close(self) -> None:
        """Let go of what callbacks hold, such as the terminal; for a `finally`, whether the run failed or not."""
        self._call("close")

    def _having(self, name: str) -> list[tuple[str, Callable[..., Any]]]:
        found = ((callback, getattr(callback, name, None)) for callback in self._given)
        return [(type(callback).__name__, method) for callback, method in found if callable(method)]

    def _call(self, name: str, *arguments: object) -> None:
        for owner, method in self._calls[name]:
            try:
                method(*arguments)
            except ModelwrightError as error:
                # Its class tells the caller what to do, so it stays, and only its words change.
                error.message = f"callback {owner}.{name}: {error.message}"
                error.args = (error.message,)
                raise
            except Exception as error:
                message = f"callback {owner}.{name} failed: {type(error).__name__}: {error}"
                raise CallbackError(f"{message}; mend it, or leave it out") from error


def _check(callback: object, path: str) -> None:
    kind = callback if inspect.isclass(callback) else type(callback)
    if inspect.isclass(callback):
        raise fault(path, f"{kind.__name__} is a class; give an object of it, {kind.__name__}()")
    if any(callable(getattr(callback, name, None)) for name in KNOWN):
        return
    own = [name for name in dir(callback) if not name.startswith("_")]
    hint = next((f"; {name}:{found}" for name in own if (found := nearest(name, KNOWN).removeprefix(";"))), "")
    raise fault(path, f"{kind.__name__} has none of the methods {', '.join(KNOWN)}{hint}")

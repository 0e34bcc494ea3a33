"""Progress of a run for people: a live line in a terminal, plain lines elsewhere, or nothing."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Literal, Protocol, TextIO, get_args

from services.common.names import nearest
from services.train_svc.engine.metrics.choice import goes_up
from services.train_svc.engine.reading import fault
from services.train_svc.engine.training.callbacks import RunFacts
from services.train_svc.engine.training.learner import Measured
from services.train_svc.engine.training.throughput import Throughput
from services.train_svc.engine.training.wording import count_text, metric_texts, size_text, time_text, value_text

Mode = Literal["auto", "live", "lines", "silent"]
PAST = 0.95
"""Weight of the past in the loss that is shown."""


class Progress:
    """How a run stands, and the words for it."""

    def __init__(self, run: RunFacts, clock: Callable[[], float] = time.monotonic) -> None:
        self.run = run
        self.step = run.first_step
        """Steps made."""
        self.throughput = Throughput(run.total_steps, run.first_step, clock)
        self._rate = self._sum = self._weight = 0.0
        self._left_out = 0

    def take(self, measured: Measured, rate: float) -> None:
        """Take in a step."""
        self.step, self._rate = measured.step, rate
        self.throughput.step(measured.step)
        self._left_out += not measured.applied
        if math.isfinite(measured.loss):
            # Divided by the weights so far, so that the first steps are not drawn to zero.
            self._sum = PAST * self._sum + (1 - PAST) * measured.loss
            self._weight = PAST * self._weight + (1 - PAST)

    @property
    def mfu(self) -> float | None:
        """Share of what the device can do at most that the model's own operations make; None: not known."""
        speed, flops, peak = self.throughput.steps_per_s, self.run.flops_per_step, self.run.peak_flops
        return flops * speed / peak if speed and flops and peak else None

    @property
    def epoch(self) -> str:
        """Which epoch this is, of how many."""
        now = max(1, -(-self.step // max(1, self.run.steps_per_epoch)))
        return f"epoch {now}/{self.run.epochs}"

    @property
    def eta(self) -> str:
        """Time left."""
        return f"ETA {time_text(self.throughput.eta_s)}"

    @property
    def speed(self) -> str:
        """Samples or tokens a second; empty: not known yet."""
        speed = self.throughput.steps_per_s
        each, unit = (
            (self.run.tokens_per_step, "tokens") if self.run.tokens_per_step else (self.run.batch_size, "samples")
        )
        return f"{count_text(speed * each)} {unit}/s" if speed else ""

    @property
    def details(self) -> list[str]:
        """Loss, learning rate, speed, MFU and memory, as far as they are known."""
        peak = self.run.peak_bytes()
        found = [
            f"loss {value_text(self._sum / self._weight)}" if self._weight else "",
            f"lr {self._rate:.2e}",
            self.speed,
            f"MFU {self.mfu:.1%}" if self.mfu is not None else "",
            size_text(peak) if peak else "",
            f"{self._left_out} steps left out" if self._left_out else "",
        ]
        return [text for text in found if text]


class View(Protocol):
    """Where progress is shown."""

    def begin(self, progress: Progress) -> None:
        """Show a run from now on."""

    def update(self) -> None:
        """Take notice that a step was made."""

    def evaluated(self, metrics: Mapping[str, str]) -> None:
        """Show what an evaluation measured."""

    def say(self, text: str) -> None:
        """Show a line for good."""

    def close(self) -> None:
        """Let go of the terminal; a second time changes nothing."""


class Lines:
    """A line every few seconds, for logs."""

    def __init__(self, stream: TextIO, every_s: float, clock: Callable[[], float]) -> None:
        self._stream, self._every_s, self._clock = stream, every_s, clock
        self._progress: Progress | None = None
        self._last = clock()

    def begin(self, progress: Progress) -> None:
        """Write of this run from now on."""
        self._progress, self._last = progress, self._clock()

    def update(self) -> None:
        """Write a line, if the last one is long enough ago."""
        now, of = self._clock(), self._progress
        if of is not None and now - self._last >= self._every_s:
            self._last = now
            self.say("  ".join([of.epoch, f"step {of.step}/{of.run.total_steps}", *of.details, of.eta]))

    def evaluated(self, metrics: Mapping[str, str]) -> None:
        """Write what was measured."""
        of = self._progress
        where = f"{of.epoch}  step {of.step}/{of.run.total_steps}  " if of else ""
        self.say(f"{where}evaluation: {', '.join(f'{name} {text}' for name, text in metrics.items())}")

    def say(self, text: str) -> None:
        """Write a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing."""


class Display:
    """A callback that shows a run's progress.

    Args:
        mode: live: a bar that is redrawn; lines: a line every few seconds; silent; auto: live in a terminal, lines
            elsewhere.
        stream: where to; None: standard output.
        every_s: seconds between two lines.
        clock: gives seconds.

    Raises:
        InvalidError: there is no such mode.
    """

    def __init__(
        self,
        mode: Mode = "auto",
        *,
        stream: TextIO | None = None,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if mode not in get_args(Mode):
            raise fault(
                "display",
                f"got {mode!r}, wanted one of {', '.join(get_args(Mode))}{nearest(str(mode), get_args(Mode))}",
            )
        self._mode, self._stream, self._every_s, self._clock = mode, stream, every_s, clock
        self._view: View | None = None
        self._progress: Progress | None = None
        self._began = 0.0
        self._best: tuple[float, int] | None = None

    def on_fit_begin(self, run: RunFacts) -> None:
        """Say what is trained where, and begin to show it."""
        self.close()
        self._progress, self._began, self._best = Progress(run, self._clock), self._clock(), None
        self._view = self._open()
        if self._view is not None:
            where = f"{run.device}, {run.precision}"
            again = f", from step {run.first_step}" if run.first_step else ""
            self._view.say(
                f"{count_text(run.parameters)} parameters on {where}: {run.epochs} epochs of {run.steps_per_epoch} "
                f"steps of {run.batch_size} samples{again}"
            )
            self._view.begin(self._progress)

    def on_step(self, measured: Measured, rate: float) -> None:
        """Take in a step."""
        if self._view is not None and self._progress is not None:
            self._progress.take(measured, rate)
            self._view.update()

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a line of the table of evaluations."""
        if self._view is None or self._progress is None:
            return
        self._progress.throughput.pause_over(step)
        self._note_best(step, metrics)
        self._view.evaluated(metric_texts(metrics))

    def on_fit_end(self, result: Any) -> None:  # noqa: ANN401 - what `fit` returns; all of it was told before
        """Show a summary, and stop."""
        view, progress = self._view, self._progress
        if view is not None and progress is not None:
            self.close()
            view.say(self._summary(progress))

    def close(self) -> None:
        """Let go of the terminal."""
        if self._view is not None:
            self._view.close()
        self._view = None

    def _open(self) -> View | None:
        stream = self._stream or sys.stdout
        is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        mode = self._mode if self._mode != "auto" else "live" if is_terminal else "lines"
        if mode == "silent":
            return None
        if mode == "lines":
            return Lines(stream, self._every_s, self._clock)
        # Takes a tenth of a second to load, which a run without a terminal need not wait for.
        live: View = import_module("services.train_svc.engine.training.terminal").Terminal(stream)
        return live

    def _note_best(self, step: int, metrics: Mapping[str, float]) -> None:
        watched = self._progress.run.watched if self._progress else ""
        value = metrics.get(watched, math.nan)
        sign = 1 if goes_up(watched) else -1
        if math.isfinite(value) and (self._best is None or sign * value > sign * self._best[0]):
            self._best = value, step

    def _summary(self, progress: Progress) -> str:
        run, peak = progress.run, progress.run.peak_bytes()
        made = progress.step - run.first_step
        found = [
            f"{made} steps in {time_text(self._clock() - self._began)}",
            progress.speed,
            f"best {run.watched} {value_text(self._best[0])} at step {self._best[1]}" if self._best else "",
            f"peak memory {size_text(peak)}" if peak else "",
        ]
        return "; ".join(text for text in found if text)

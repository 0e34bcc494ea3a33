"""Processes that run a search's trials."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from optuna.trial import TrialState

from services.common.errors import InvalidError, ModelwrightError
from services.train_svc.engine.search.retaining import drop_checkpoints
from services.train_svc.engine.search.running import Runner
from services.train_svc.engine.search.studies import Opened, open_study
from services.train_svc.engine.search.tools import Tools
from services.train_svc.engine.training.jobfile import JobFile

POLL_S = 0.1
MOST_DEATHS = 5
"""Processes that may die one after another while no trial ends."""
Stop = Callable[[], bool]


def work(opened: Opened, tools: Tools, stop: Stop, over: Stop, told: Callable[[], None]) -> None:
    """Run trials in this process until none waits.

    Args:
        opened: the study.
        tools: from outside.
        stop: asked before every step; the trial then waits again.
        over: asked before every trial.
        told: called when a trial has ended.

    Raises:
        InvalidError: the data cannot be read, or what is searched by is not measured.
    """
    runner = Runner(opened, tools.open_data(opened.job), tools, stop)
    with opened.claims.present():
        while not stop() and not over():
            taken = opened.claims.take(opened.search.trials)
            if taken is None:
                return
            runner.run(taken)
            drop_checkpoints(opened)
            told()


def work_together(opened: Opened, tools: Tools, stop: Stop, over: Stop, told: Callable[[], None]) -> None:
    """Run trials in processes of their own; arguments and errors as `work`.

    One that dies is replaced, and its trial is taken up by another.
    """
    crew = Crew(opened.job, replace(tools, display="silent"))
    try:
        while True:
            waiting = sum(trial.state == TrialState.WAITING for trial in opened.trials())
            wanted = 0 if stop() or over() else min(opened.search.parallel, waiting + crew.size)
            crew.fill(wanted)
            if stop():
                crew.ask_to_leave()
            told()
            if not crew.size and not wanted:
                return
            time.sleep(POLL_S)
            crew.look(ended=sum(trial.state.is_finished() for trial in opened.trials()))
            opened.claims.take_back()
    finally:
        crew.ask_to_leave()
        crew.wait()


@dataclass(kw_only=True)
class Hand:
    """A process of a crew."""

    process: SpawnProcess
    """It."""
    line: Connection
    """Says why it failed."""


class Crew:
    """Processes that run trials.

    Args:
        job: the search.
        tools: from outside.
    """

    def __init__(self, job: JobFile, tools: Tools) -> None:
        self._job, self._tools = job, tools
        self._hands: list[Hand] = []
        self._deaths = self._ended = 0

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._hands)

    def fill(self, wanted: int) -> None:
        """Start as many as are missing."""
        context = multiprocessing.get_context("spawn")
        while self.size < wanted:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=lend_a_hand, args=(self._job, self._tools, theirs, os.getpid()), daemon=True
            )
            process.start()
            theirs.close()
            self._hands.append(Hand(process=process, line=ours))

    def look(self, ended: int) -> None:
        """Let go of those that left.

        Args:
            ended: trials that have ended.

        Raises:
            InvalidError: one says that no trial can be run, or they die one after another.
        """
        if ended != self._ended:
            self._deaths, self._ended = 0, ended
        for hand in [hand for hand in self._hands if not hand.process.is_alive()]:
            self._hands.remove(hand)
            if message := _said(hand):
                raise InvalidError(message, field="search")
            self._deaths += hand.process.exitcode != 0
            if self._deaths >= MOST_DEATHS:
                message = f"processes that run trials die one after another (exit code {hand.process.exitcode})"
                raise InvalidError(f"{message}; lower search.parallel, or look at the log", field="search.parallel")

    def ask_to_leave(self) -> None:
        """Ask all to save a checkpoint and leave."""
        for hand in self._hands:
            hand.process.terminate()

    def wait(self) -> None:
        """Wait until all have left."""
        for hand in self._hands:
            hand.process.join()


def lend_a_hand(job: JobFile, tools: Tools, line: Connection, parent: int) -> None:
    """Run trials until none waits, or the process that started this one is gone or asks to leave."""
    asked: list[int] = []
    # A terminal sends Ctrl-C to all of them; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))

    def stop() -> bool:
        return bool(asked) or os.getppid() != parent

    try:
        work(open_study(job), tools, stop, lambda: False, lambda: None)
    except ModelwrightError as error:
        line.send(error.message)
    except Exception as error:
        line.send(f"a process that runs trials failed: {type(error).__name__}: {error}")
        raise


def _said(hand: Hand) -> str:
    try:
        return str(hand.line.recv()) if hand.line.poll() else ""
    except EOFError:
        return ""


def with_threads(job: JobFile) -> JobFile:
    """Return a search whose processes share the threads of the machine, unless it says how many each takes."""
    parallel = job.search.parallel if job.search else 1
    if parallel == 1 or "threads" in job.settings:
        return job
    threads = max(1, len(os.sched_getaffinity(0)) // parallel)
    return replace(job, settings={**job.settings, "threads": threads})

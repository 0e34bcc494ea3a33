"""Real searches over small networks on digits."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import optuna
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.search.results import SearchResult, TrialRow
from services.train_svc.engine.search.searching import search
from services.train_svc.engine.search.tools import Tools, TrialPlan, TrialStoppedError
from services.train_svc.engine.sinks import read_curve
from services.train_svc.engine.training.jobfile import JobFile, read_jobfile
from services.train_svc.engine.training.trainer import Trainer

Write = Callable[..., JobFile]


class Sink:
    """Counts the points of a trial, and does something at one of them."""

    def __init__(self, plan: TrialPlan, at: tuple[int, int], do: Callable[[], None]) -> None:
        self._number, self._at, self._do = plan.number, at, do

    def log(self, points: Sequence[object]) -> None:
        if (self._number, points[0].step) == self._at:  # type: ignore[attr-defined]
            self._do()


@contextmanager
def killing(plan: TrialPlan) -> Iterator[Sequence[Sink]]:
    yield [Sink(plan, (3, 8), lambda: os.kill(os.getpid(), signal.SIGKILL))]


def rows_of(result: SearchResult) -> list[tuple]:
    return [(row.number, row.state, row.value, dict(row.params), row.epochs) for row in result.rows]


def test_the_trials_are_ranked_and_the_best_can_be_repeated(write_search: Write, digit_folder: Path) -> None:
    job = write_search({"pruner": "none", "keep": 2}, {"ema_decay": 0.5})
    told: list[TrialRow] = []
    result = search(job, told=told.append)
    assert [row.number for row in told] == list(range(6))
    assert [row.state for row in result.rows] == ["complete"] * 6
    values = [row.value or 0.0 for row in result.ranking]
    assert values == sorted(values, reverse=True)
    assert result.best is not None
    assert result.best.value == result.best.metrics["validation_accuracy"]
    kept = {row.number for row in result.rows if (row.folder / "checkpoints").exists()}
    assert kept == {row.number for row in result.ranking[:2]}
    record = json.loads((result.best.folder / "trial.json").read_text("utf-8"))
    assert record["params"] == result.best.params

    again = read_jobfile(job.folder / "best.yaml")
    assert again.folder == job.folder / "best"
    assert Path(again.data.folder).resolve() == digit_folder.resolve()
    settings = dict(again.settings)
    trainer = Trainer(settings.pop("model"), again.data.folder, folder=again.folder, display="silent", **settings)
    assert trainer.fit().metrics["validation_accuracy"] == result.best.value


def test_importance_is_told_of_each_parameter_and_drawn(write_search: Write) -> None:
    result = search(write_search({"pruner": "none"}))
    assert set(result.importance) == {"optimizer.lr", "model.dropout"}
    assert sum(result.importance.values()) == pytest.approx(1)
    picture = ElementTree.parse(result.folder / "importance.svg")
    texts = [each.text for each in picture.iter() if each.tag.endswith("text")]
    assert {"optimizer.lr", "model.dropout"} <= set(texts)


KILLED = """
import sys
from dataclasses import replace
sys.path[:0] = sys.argv[2:]
import test_searching
from services.train_svc.engine.search.searching import search
from services.train_svc.engine.search.tools import Tools
from services.train_svc.engine.training.jobfile import read_jobfile
search(read_jobfile(sys.argv[1]), tools=Tools(track=test_searching.killing))
"""


def test_a_killed_search_goes_on_as_the_unbroken_one(write_search: Write) -> None:
    train = {"threads": 1, "checkpoint_every_s": 1e-3}
    spec = {"trials": 7, "pruner": {"name": "asha", "factor": 2}}
    whole = search(write_search(spec, train, "whole"))
    job = write_search(spec, train, "killed")
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, str(job.path), here], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    curve = job.folder / "trials" / "0003" / "curve.jsonl"
    assert max(step for step, _ in read_curve(curve)["train_loss"]) == 8
    told: list[TrialRow] = []
    result = search(job, told=told.append)
    assert [row.number for row in told] == [3, 4, 5, 6]
    assert {row.state for row in result.rows} == {"complete", "pruned"}
    assert rows_of(result) == rows_of(whole)


def test_a_search_that_is_stopped_goes_on_as_the_unbroken_one(write_search: Write) -> None:
    whole = search(write_search({"trials": 4}, {"threads": 1}, "whole"))
    job = write_search({"trials": 4}, {"threads": 1}, "stopped")
    ended: list[type[BaseException] | None] = []
    asked: list[bool] = []

    @contextmanager
    def stopping(plan: TrialPlan) -> Iterator[Sequence[Sink]]:
        try:
            yield [Sink(plan, (1, 4), lambda: asked.append(True))]
        except Exception as error:
            ended.append(type(error))
            raise

    first = search(job, tools=Tools(track=stopping), stop=lambda: bool(asked))
    assert first.stopped
    assert ended[-1] is TrialStoppedError
    assert [row.state for row in first.rows] == [whole.rows[0].state, "waiting", "waiting", "waiting"]
    result = search(job)
    assert not result.stopped
    assert rows_of(result) == rows_of(whole)


def test_a_bad_trial_is_pruned_after_its_first_epochs(write_search: Write) -> None:
    ended: list[type[BaseException]] = []

    @contextmanager
    def seeing(plan: TrialPlan) -> Iterator[Sequence[Sink]]:
        try:
            yield ()
        except Exception as error:
            ended.append(type(error))
            raise

    rates = {"optimizer.lr": {"choice": [3e-2, 1e-9]}}
    job = write_search({"parameters": rates, "trials": 6, "seed": 1}, {"epochs": 4})
    result = search(job, tools=Tools(track=seeing))
    bad = [row for row in result.rows if row.params["optimizer.lr"] == 1e-9 and row.number]
    assert bad
    assert any(row.state == "complete" for row in result.rows if row not in bad)
    assert {(row.state, row.epochs) for row in bad} == {("pruned", 1)}
    assert len(read_curve(bad[0].folder / "curve.jsonl")["validation_accuracy"]) == 1
    assert set(ended) == {optuna.TrialPruned}


def test_a_trial_that_fails_says_why_and_the_search_goes_on(write_search: Write) -> None:
    formats = {"precision": {"choice": ["fp32", "fp8"]}}
    result = search(write_search({"parameters": formats, "trials": 5, "pruner": "none"}))
    states = {row.params["precision"]: row.state for row in result.rows}
    assert states == {"fp32": "complete", "fp8": "failed"}
    failed = next(row for row in result.rows if row.state == "failed")
    assert "fp8" in failed.error
    assert json.loads((failed.folder / "trial.json").read_text("utf-8"))["error"] == failed.error


def test_two_processes_share_one_study(write_search: Write) -> None:
    job = write_search({"trials": 6, "parallel": 2, "pruner": "none"})
    told: list[TrialRow] = []
    result = search(job, told=told.append)
    assert sorted(row.number for row in told) == list(range(6))
    assert [row.state for row in result.rows] == ["complete"] * 6
    assert all((row.folder / "curve.jsonl").exists() for row in result.rows)


def test_more_trials_can_be_asked_for_later_and_less_changes_nothing(write_search: Write) -> None:
    job = write_search({"trials": 2})
    assert job.search is not None
    search(job)
    more = search(replace(job, search=replace(job.search, trials=3)))
    assert [row.number for row in more.rows] == [0, 1, 2]
    less = search(replace(job, search=replace(job.search, trials=1)), told=lambda row: pytest.fail("nothing is left"))
    assert [row.number for row in less.rows] == [0]


def test_no_trial_begins_after_the_time_is_over(write_search: Write) -> None:
    result = search(write_search({"timeout_s": 1e-3}))
    assert {row.state for row in result.rows} == {"waiting"}
    assert result.best is None


def test_the_folder_of_another_search_is_refused_with_what_differs(write_search: Write) -> None:
    search(write_search({"trials": 1}))
    with pytest.raises(InvalidError, match=r"another train\.epochs, search\.seed;"):
        search(write_search({"trials": 1, "seed": 2}, {"epochs": 1}))
    assert search(write_search({"trials": 1}, {"checkpoint_every_s": 3})).rows[0].state == "complete"


def test_a_metric_that_is_not_measured_ends_the_search_at_once(write_search: Write) -> None:
    job = write_search({"metric": "acuracy"})
    with pytest.raises(InvalidError, match="did you mean"):
        search(job)
    assert search(write_search({"metric": "loss", "trials": 2}, name="other")).rises is False


def test_data_that_is_not_there_ends_the_search_at_once(write_search: Write, tmp_path: Path) -> None:
    for parallel in (1, 2):
        job = write_search({"parallel": parallel}, name=f"of-{parallel}")
        job = replace(job, data=replace(job.data, folder=str(tmp_path / "none")))
        with pytest.raises(InvalidError, match="none"):
            search(job)


def test_a_file_without_a_search_says_what_to_add(write_search: Write) -> None:
    with pytest.raises(InvalidError, match="has no such section; add search"):
        search(replace(write_search({}), search=None))

"""What people see, with a clock that stands still until it is told to go."""

import io
import math
import re
import subprocess
import sys
from typing import Any

import pytest

from services.train_svc.engine.training.callbacks import Callbacks, RunFacts
from services.train_svc.engine.training.display import Display, Mode, Progress
from services.train_svc.engine.training.learner import Measured
from services.train_svc.engine.training.terminal import Terminal
from services.train_svc.engine.training.throughput import Throughput
from services.train_svc.engine.training.wording import count_text, metric_texts, size_text, time_text, value_text

GIB = 2**30


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def facts(**changes: Any) -> RunFacts:
    given = {"total_steps": 400, "steps_per_epoch": 100, "batch_size": 8, "parameters": 1_200_000, **changes}
    return RunFacts(**given)


def measured(step: int, loss: float = 1.0, *, applied: bool = True) -> Measured:
    return Measured(step=step, loss=loss, gradient_norm=1.0, applied=applied)


class Played:
    """A run at four steps a second, as a display sees it."""

    def __init__(self, mode: Mode, run: RunFacts, stream: io.StringIO | None = None) -> None:
        self.clock, self.stream = Clock(), stream or io.StringIO()
        self.display = Display(mode, stream=self.stream, every_s=5.0, clock=self.clock)
        self.display.on_fit_begin(run)

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            self.clock.now += 0.25
            self.display.on_step(measured(step), 3e-4)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def test_where_no_terminal_is_there_is_a_line_every_few_seconds() -> None:
    played = Played("auto", facts())
    played.steps(1, 100)
    assert len(played.lines) == 1 + 5
    assert played.lines[0] == "1.2M parameters on cpu, fp32: 4 epochs of 100 steps of 8 samples"
    assert played.lines[-1] == "epoch 1/4  step 100/400  loss 1  lr 3.00e-04  32 samples/s  ETA 1:15"


def test_a_silent_display_says_nothing() -> None:
    played = Played("silent", facts())
    played.steps(1, 100)
    played.display.on_evaluation(100, {"validation_accuracy": 0.5})
    played.display.on_fit_end(None)
    assert played.lines == []


def test_a_resumed_run_says_from_where_it_goes_on() -> None:
    played = Played("lines", facts(first_step=150))
    played.steps(151, 170)
    assert played.lines[0].endswith(", from step 150")
    assert played.lines[-1].startswith("epoch 2/4  step 170/400")


def test_an_evaluation_has_its_line_with_the_interval() -> None:
    played = Played("lines", facts())
    played.steps(1, 10)
    metrics = {"validation_loss": 0.25, "validation_accuracy": 0.953}
    interval = {"validation_accuracy_ci_low": 0.94, "validation_accuracy_ci_high": 0.963}
    played.display.on_evaluation(10, {**metrics, **interval})
    assert played.lines[-1] == "epoch 1/4  step 10/400  evaluation: loss 0.25, accuracy 0.953 (0.94 to 0.963)"


@pytest.mark.parametrize(("watched", "best"), [("validation_accuracy", "0.7 at step 20"), ("cer", "0.5 at step 10")])
def test_the_summary_names_the_best_evaluation(watched: str, best: str) -> None:
    played = Played("lines", facts(watched=watched, peak_bytes=lambda: 3 * GIB // 2))
    for index, value in enumerate((0.5, 0.7, math.nan, 0.6)):
        played.steps(10 * index + 1, 10 * index + 10)
        played.display.on_evaluation(10 * index + 10, {watched: value})
    played.display.on_fit_end(None)
    assert played.lines[-1] == f"40 steps in 0:10; 32 samples/s; best {watched} {best}; peak memory 1.5 GiB"


def test_speed_is_in_tokens_where_a_model_reads_text() -> None:
    played = Played("lines", facts(tokens_per_step=4096))
    played.steps(1, 40)
    assert "16.4k tokens/s" in played.lines[-1]


def test_the_mfu_is_the_share_of_the_peak_and_shown_only_where_that_is_known() -> None:
    known = Played("lines", facts(flops_per_step=1e12, peak_flops=1e13))
    known.steps(1, 40)
    assert "MFU 40.0%" in known.lines[-1]
    for missing in ({"flops_per_step": 1e12}, {"peak_flops": 1e13}):
        unknown = Played("lines", facts(**missing))
        unknown.steps(1, 40)
        assert "MFU" not in unknown.lines[-1]


def test_the_loss_is_smoothed_without_a_pull_towards_zero() -> None:
    progress = Progress(facts(), Clock())
    losses = [4.0, 2.0, 3.0]
    for step, loss in enumerate(losses, 1):
        progress.take(measured(step, loss), 0.1)
    weights = [0.95**2, 0.95, 1.0]
    expected = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
    assert progress.details[0] == f"loss {expected:.4g}"


def test_steps_that_overflowed_are_counted_and_do_not_spoil_the_loss() -> None:
    progress = Progress(facts(), Clock())
    progress.take(measured(1, 2.0), 0.1)
    progress.take(measured(2, math.inf, applied=False), 0.1)
    assert progress.details[0] == "loss 2"
    assert progress.details[-1] == "1 steps left out"


def test_throughput_is_of_the_last_steps_alone() -> None:
    clock = Clock()
    throughput = Throughput(1000, clock=clock)
    for step in range(1, 101):
        clock.now += 1.0 if step <= 50 else 0.1
        throughput.step(step)
    assert throughput.steps_per_s == pytest.approx(10)


def test_the_first_step_and_pauses_do_not_count_as_slow_steps() -> None:
    clock = Clock()
    throughput = Throughput(200, clock=clock)
    clock.now += 60
    throughput.step(1)
    assert throughput.steps_per_s is None
    for step in range(2, 101):
        clock.now += 0.5
        throughput.step(step)
    clock.now += 30
    throughput.pause_over(100)
    assert throughput.steps_per_s == pytest.approx(2)
    clock.now += 0.5
    throughput.step(101)
    assert throughput.steps_per_s == pytest.approx(2)
    assert throughput.eta_s == pytest.approx(99 * (0.5 + 30 / 101))


def test_measures_that_arrive_together_have_no_endless_speed() -> None:
    clock = Clock()
    throughput = Throughput(200, clock=clock)
    for step in range(1, 6):
        throughput.step(step)
    assert throughput.steps_per_s is None
    assert throughput.eta_s is None


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def seen(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture
def _a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.usefixtures("_a_terminal")
def test_in_a_terminal_two_lines_are_redrawn_and_evaluations_make_a_table() -> None:
    played = Played("auto", facts(peak_bytes=lambda: GIB, watched="validation_accuracy"), Screen())
    played.steps(1, 40)
    for step, accuracy in ((40, 0.5), (80, 0.75)):
        played.display.on_evaluation(step, {"validation_loss": 0.25, "validation_accuracy": accuracy})
        played.steps(step + 1, step + 40)
    played.display.on_fit_end(None)
    text = seen(played.stream.getvalue())
    assert "120/400" in text
    assert "loss 1  lr 3.00e-04  32 samples/s  1.0 GiB" in text
    assert [line.split() for line in text.splitlines() if "accuracy" in line and "best" not in line] == [
        ["step", "loss", "accuracy"]
    ]
    assert ["40", "0.25", "0.5"] in [line.split() for line in text.splitlines()]
    assert text.splitlines()[-1].startswith("120 steps in 0:30; 32 samples/s; best validation_accuracy 0.75 at step 80")


@pytest.mark.usefixtures("_a_terminal")
def test_a_run_that_fails_gives_the_terminal_back() -> None:
    played = Played("live", facts(), Screen())
    callbacks = Callbacks([played.display])
    callbacks.close()
    callbacks.close()
    hidden, shown = (played.stream.getvalue().rfind(f"\x1b[?25{mark}") for mark in "lh")
    assert 0 <= hidden < shown


def test_a_terminal_that_cannot_be_redrawn_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    played = Played("auto", facts(), Screen())
    played.steps(1, 40)
    assert "\x1b" not in played.stream.getvalue()
    assert len(played.lines) == 3


def test_a_table_has_a_new_head_where_its_columns_change() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    for metrics in ({"loss": "1"}, {"loss": "2"}, {"loss": "2", "cer": "0.5"}):
        terminal.evaluated(metrics)
    assert sum("step" in line for line in stream.getvalue().splitlines()) == 2


def test_lines_need_neither_rich_nor_an_engine() -> None:
    code = (
        "import sys; from services.train_svc.engine.training.display import Display;"
        "sys.exit(bool({'torch', 'tensorflow', 'rich', 'sklearn'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (time_text(65), "1:05"),
        (time_text(3723.4), "1:02:03"),
        (time_text(None), "-"),
        (time_text(math.inf), "-"),
        (size_text(512), "512 B"),
        (size_text(1.5 * GIB), "1.5 GiB"),
        (size_text(2000 * GIB), "2000.0 GiB"),
        (count_text(12), "12"),
        (count_text(25_557_032), "25.6M"),
        (count_text(999_900), "1M"),
        (count_text(1.2358e9), "1.236B"),
        (value_text(0.123456), "0.1235"),
        (value_text(1.5e-5), "1.500e-05"),
        (value_text(0), "0"),
        (value_text(math.nan), "nan"),
        (value_text(123456), "1.235e+05"),
    ],
)
def test_numbers_are_short(text: str, expected: str) -> None:
    assert text == expected


def test_an_interval_stands_behind_its_value() -> None:
    found = metric_texts({"validation_cer": 0.1, "validation_cer_ci_low": 0.05, "validation_cer_ci_high": 0.2})
    assert found == {"cer": "0.1 (0.05 to 0.2)"}

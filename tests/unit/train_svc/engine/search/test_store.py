"""Our store, beside Optuna's own in memory."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from services.train_svc.engine.search.claims import ERROR, MOST_ATTEMPTS, Claims
from services.train_svc.engine.search.store import Store

SEEN = ("number", "state", "params", "distributions", "user_attrs", "system_attrs", "intermediate_values", "values")


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 1e-3, 10, log=True)
    y = trial.suggest_int("y", -3, 3)
    kind = trial.suggest_categorical("kind", ["a", 2, None, True])
    trial.set_user_attr("note", {"x": [x]})
    if trial.number == 3:
        raise RuntimeError
    for step in range(1, 6):
        trial.report((x - 1) ** 2 + y**2 / step + (kind == "a"), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return (x - 1) ** 2 + y**2


def optimized(storage: BaseStorage, trials: int) -> list[FrozenTrial]:
    study = optuna.create_study(
        storage=storage,
        study_name="one",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=3),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    )
    study.enqueue_trial({"x": 0.5, "y": 1})
    study.optimize(objective, n_trials=trials, catch=(RuntimeError,))
    return study.get_trials()


def test_a_study_goes_as_in_optunas_own_storage(tmp_path: Path) -> None:
    ours, theirs = optimized(Store(tmp_path / "a"), 14), optimized(InMemoryStorage(), 14)
    assert {trial.state for trial in ours} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    for one, other in zip(ours, theirs, strict=True):
        for name in SEEN:
            assert getattr(one, name) == getattr(other, name), (one.number, name)


def test_another_process_reads_what_was_written(tmp_path: Path) -> None:
    written = optimized(Store(tmp_path / "a"), 4)
    read = Store(tmp_path / "a").get_all_trials(1)
    assert read == written


def test_values_that_are_no_numbers_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    trial = store.create_new_trial(store.create_new_study([StudyDirection.MINIMIZE]))
    store.set_trial_intermediate_value(trial, 1, math.nan)
    store.set_trial_intermediate_value(trial, 2, -math.inf)
    found = Store(tmp_path / "a").get_trial(trial).intermediate_values
    assert math.isnan(found[1])
    assert found[2] == -math.inf


def test_what_is_not_allowed_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    study = store.create_new_study([StudyDirection.MINIMIZE], "one")
    with pytest.raises(DuplicatedStudyError):
        store.create_new_study([StudyDirection.MINIMIZE], "one")
    trial = store.create_new_trial(study)
    store.set_trial_state_values(trial, TrialState.COMPLETE, [1.0])
    with pytest.raises(UpdateFinishedTrialError):
        store.set_trial_user_attr(trial, "a", 1)
    other = store.create_new_trial(study)
    store.set_trial_param(other, "x", 1.0, optuna.distributions.FloatDistribution(0, 2))
    with pytest.raises(ValueError, match="distribution"):
        store.set_trial_param(store.create_new_trial(study), "x", 0, optuna.distributions.CategoricalDistribution([1]))
    for call in (store.get_trial, store.get_study_name_from_id, store.get_all_trials, store.delete_study):
        with pytest.raises(KeyError):
            call(99)


def test_a_deleted_study_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    optimized(store, 3)
    store.delete_study(1)
    assert store.get_all_studies() == []
    tables = ("studies", "study_attrs", "trials", "trial_attrs", "params", "reports")
    counts = [store.database.reading().execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables]
    assert counts == [0] * len(tables)


def waiting(path: Path, trials: int) -> tuple[Store, int]:
    store = Store(path)
    study = store.create_new_study([StudyDirection.MINIMIZE])
    for _ in range(trials):
        store.create_new_trial(study, optuna.trial.create_trial(state=TrialState.WAITING))
    return store, study


def claims_of(store: Store, study: int, folder: Path) -> Claims:
    return Claims(store, study, folder / "workers", parameters=2)


def take_all(path: Path, study: int, found: "multiprocessing.Queue[list[int]]") -> None:
    claims = claims_of(Store(path), study, path.parent)
    taken = []
    with claims.present():
        while (trial := claims.take(40)) is not None:
            taken.append(trial)
        found.put(taken)


def test_two_processes_take_each_trial_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    _, study = waiting(path, 40)
    context = multiprocessing.get_context("fork")
    found: multiprocessing.Queue[list[int]] = context.Queue()
    hands = [context.Process(target=take_all, args=(path, study, found)) for _ in range(2)]
    for hand in hands:
        hand.start()
    first, second = found.get(timeout=60), found.get(timeout=60)
    for hand in hands:
        hand.join()
    assert len(first) + len(second) >= 40
    assert set(first) | set(second) == set(range(1, 41))


KILLED = """
import os, signal, sys
from pathlib import Path
from optuna.distributions import FloatDistribution
from services.train_svc.engine.search.claims import Claims
from services.train_svc.engine.search.store import Store
path = Path(sys.argv[1])
store = Store(path)
claims = Claims(store, 1, path.parent / "workers", parameters=2)
with claims.present():
    trial = claims.take(2)
    for name in sys.argv[2:]:
        store.set_trial_param(trial, name, 0.25, FloatDistribution(0, 1))
    store.set_trial_intermediate_value(trial, 1, 0.5)
    store.set_trial_system_attr(trial, "completed_rung_0", 0.5)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_one(path: Path, *names: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), *names], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("drawn", "kept"), [(("x", "y"), {"x": 0.25, "y": 0.25}), (("x",), {})])
def test_the_trial_of_a_killed_process_waits_again_with_what_was_drawn_in_full(
    tmp_path: Path, drawn: tuple[str, ...], kept: dict[str, float]
) -> None:
    store, study = waiting(tmp_path / "a", 2)
    kill_one(tmp_path / "a", *drawn)
    assert store.get_trial(1).state == TrialState.RUNNING
    claims = claims_of(store, study, tmp_path)
    claims.take_back()
    found = store.get_trial(1)
    assert (found.state, found.params, found.intermediate_values, found.system_attrs) == (
        TrialState.WAITING,
        kept,
        {},
        {},
    )
    with claims.present():
        assert claims.take(2) == 1


def test_the_trial_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    store, study = waiting(tmp_path / "a", 2)
    one, other = claims_of(store, study, tmp_path), claims_of(store, study, tmp_path)
    with one.present():
        assert one.take(2) == 1
        other.take_back()
        assert store.get_trial(1).state == TrialState.RUNNING
        with other.present():
            assert other.take(2) == 2
    other.take_back()
    assert store.get_trial(1).state == TrialState.WAITING


def test_a_trial_that_kills_every_process_fails_in_the_end(tmp_path: Path) -> None:
    store, study = waiting(tmp_path / "a", 1)
    claims = claims_of(store, study, tmp_path)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        kill_one(tmp_path / "a", "x", "y")
        assert claims.attempts(1) == attempt
    claims.take_back()
    found = store.get_trial(1)
    assert found.state == TrialState.FAIL
    assert "ended from outside 3 times" in found.user_attrs[ERROR]


def test_a_trial_that_got_further_each_time_does_not_fail(tmp_path: Path) -> None:
    store, study = waiting(tmp_path / "a", 1)
    claims = claims_of(store, study, tmp_path)
    for _ in range(MOST_ATTEMPTS + 1):
        claims.take_back()
        kill_one(tmp_path / "a", "x", "y")
        claims.progressed(1)
    claims.take_back()
    assert store.get_trial(1).state == TrialState.WAITING


def test_a_connection_is_not_shared_with_a_forked_process(tmp_path: Path) -> None:
    store, study = waiting(tmp_path / "a", 1)
    child = os.fork()
    if child == 0:
        store.set_trial_user_attr(1, "from", "child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.set_study_user_attr(study, "from", "parent")
    assert store.get_trial(1).user_attrs == {"from": "child"}

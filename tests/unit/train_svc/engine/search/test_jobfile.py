"""A training as a file: what it says, and what is said of its faults."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.search.spec import Parameter
from services.train_svc.engine.training.jobfile import DataRef, changed, read_jobfile
from services.train_svc.engine.training.jobyaml import load_mapping, parse


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def faults(path: Path) -> dict[str, str]:
    with pytest.raises(InvalidError) as found:
        read_jobfile(path)
    return {each.field: each.message for each in found.value.violations}


def test_numbers_and_words_are_those_of_yaml_1_2() -> None:
    text = "[1e-3, 1.5e-3, -1E3, .5, 3., off, on, no, true, 7, 1_0, .inf, 12e, '1e-3']"
    inf = float("inf")
    assert parse(text) == [1e-3, 1.5e-3, -1e3, 0.5, 3.0, "off", "on", "no", True, 7, 10, inf, "12e", "1e-3"]


def test_paths_are_relative_to_the_file(write: Callable[[str], Path], tmp_path: Path) -> None:
    path = write("data: ./pictures\ntrain: {compile: off, lr: 1e-2, precision: {policy: p.yaml}}\nfolder: here")
    found = read_jobfile(path)
    assert found.data == DataRef(folder=str(tmp_path / "pictures"))
    assert found.folder == tmp_path / "here"
    assert (found.train.compile, found.train.optimizer.lr) == ("off", 0.01)
    assert found.train.precision.policy == str(tmp_path / "p.yaml")
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_command_line_replaces_settings_and_folder(write: Callable[[str], Path], tmp_path: Path) -> None:
    path = write("data: x\ntrain: {optimizer: lion, lr: 1e-2}")
    found = read_jobfile(path, [("optimizer.lr", 1e-3), ("epochs", 3)], folder=tmp_path / "else")
    assert (found.train.optimizer.name, found.train.optimizer.lr, found.train.epochs) == ("lion", 1e-3, 3)
    assert found.folder == tmp_path / "else"
    assert read_jobfile(path).folder == tmp_path / "runs" / "mine"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("digits@3", DataRef(dataset="digits@3")),
        ("digits:3", DataRef(dataset="digits:3")),
        ("{dataset: digits}", DataRef(dataset="digits")),
        ("sha256:" + 64 * "a", DataRef(dataset="sha256:" + 64 * "a")),
    ],
)
def test_data_may_be_a_version_on_the_platform(write: Callable[[str], Path], text: str, wanted: DataRef) -> None:
    assert read_jobfile(write(f"data: {text}")).data == wanted


def test_every_fault_is_named_at_once_with_the_nearest(write: Callable[[str], Path]) -> None:
    found = faults(write("dat: x\ntrain: {epocs: 3, batch_size: 1, optimizer: {nam: x}}\nsearch: {trails: 3}"))
    assert "did you mean 'data'?" in found["dat"]
    assert "is required" in found["data"]
    assert "did you mean 'epochs'?" in found["train.epocs"]
    assert "at least 2" in found["train.batch_size"]
    assert "did you mean 'name'?" in found["train.optimizer.nam"]
    assert "did you mean 'trials'?" in found["search.trails"]
    assert "is required" in found["search.parameters"]


def test_faults_of_what_is_searched_are_named_before_a_trial_runs(write: Callable[[str], Path]) -> None:
    text = """
        data: x
        train: {model: mlp}
        search: {parameters: {optimizer.lrr: {log: [1e-5, 1]}, batch_size: {choice: [1, 16]}, epochs: {int: [0, 9]},
          model.dropot: {float: [0, 1]}, optimizer.name: {choice: [adamw, lio]}, seed.x: {int: [1, 2]}}}
    """
    found = faults(write(text))
    wanted = {
        "optimizer.lrr": "did you mean 'lr'?",
        "batch_size": "1: train.batch_size: got 1, wanted at least 2",
        "epochs": "got 0",
        "model.dropot": "did you mean 'dropout'?",
        "optimizer.name": "did you mean 'lion'?",
    }
    for name, message in wanted.items():
        assert message in found[f"search.parameters.{name}"]
    text = "data: x\ntrain: {seed: 3}\nsearch: {parameters: {seed.x: {int: [1, 2]}}}"
    assert "no settings of its own" in faults(write(text))["search.parameters.seed.x"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{log: [0, 1]}", "above 0"),
        ("{float: [1, 0]}", "smaller end first"),
        ("{int: [1.5, 3]}", "whole numbers"),
        ("{float: [a, b]}", "two numbers"),
        ("{float: 3}", "two ends"),
        ("{choice: []}", "a list of values"),
        ("{choice: [1, 1]}", "twice"),
        ("{choice: [{a: 1}]}", "plain values"),
        ("{choise: [1]}", "did you mean 'choice'?"),
        ("[1, 2]", "wanted one of"),
    ],
)
def test_a_parameter_of_the_wrong_form_says_the_right_one(
    write: Callable[[str], Path], given: str, message: str
) -> None:
    found = faults(write(f"data: x\nsearch: {{parameters: {{optimizer.lr: {given}}}}}"))
    assert any(message in each for each in found.values()), found


def test_a_parameter_is_read_as_it_is_written() -> None:
    for given in ({"log": [1e-5, 0.1]}, {"int": [1, 5]}, {"choice": ["a", 2]}, {"log_int": [8, 64]}):
        found = Parameter.from_data(given, "", [])
        assert found is not None
        assert found.to_data() == given


@pytest.mark.parametrize(
    ("settings", "path", "wanted"),
    [
        ({"optimizer": "lion"}, "optimizer.lr", {"optimizer": {"name": "lion", "lr": 5}}),
        ({"lr": 1}, "optimizer.lr", {"optimizer": {"lr": 5}}),
        ({"lr": 1}, "lr", {"optimizer": {"lr": 5}}),
        ({"model": "mlp"}, "model.dropout", {"model": {"template": "mlp", "dropout": 5}}),
        ({}, "model.stem", {"model": {"template": "resnet_small", "stem": 5}}),
        ({"model": {"template": "a", "b": {"c": 1}}}, "model.b.d", {"model": {"template": "a", "b": {"c": 1, "d": 5}}}),
        ({"epochs": 3}, "epochs", {"epochs": 5}),
    ],
)
def test_a_setting_is_replaced_and_its_neighbours_stay(settings: dict, path: str, wanted: dict) -> None:
    before = pickle.loads(pickle.dumps(settings))
    assert changed(settings, path, 5) == wanted
    assert settings == before


def test_what_is_no_file_of_a_training_is_refused(write: Callable[[str], Path], tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.yaml", "cannot be read"),
        (write("[1, 2]"), "holds no mapping"),
    ):
        with pytest.raises(InvalidError, match=message):
            load_mapping(path)
    with pytest.raises(InvalidError, match="'data' stands twice"):
        load_mapping(write("data: x\ndata: y"))
    with pytest.raises(InvalidError, match="is no YAML"):
        load_mapping(write("data: [x"))

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.checkpoint import NOTE_FILE, STATE_FILE, State, list_checkpoints, read_checkpoint
from services.train_svc.engine.checkpoint import write_checkpoint as write

STATE = State(
    model={"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)},
    optimizer={"a.weight/exp_avg": torch.ones(2, 3)},
    step=7,
    steps_per_epoch=5,
    spec_digest="sha256:" + "1" * 64,
    dataset_digest="",
)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    found = read_checkpoint(write(tmp_path, STATE))
    assert (found.step, found.steps_per_epoch, found.spec_digest) == (7, 5, STATE.spec_digest)
    assert {name: tensor.tolist() for name, tensor in found.model.items()} == {
        "a.weight": [[0, 1, 2], [3, 4, 5]],
        "a.count": 3,
    }
    assert list(found.optimizer) == ["a.weight/exp_avg"]


def test_it_is_safetensors_and_json_and_nothing_else(tmp_path: Path) -> None:
    folder = write(tmp_path, STATE)
    assert sorted(path.name for path in folder.iterdir()) == [NOTE_FILE, STATE_FILE]
    assert json.loads((folder / NOTE_FILE).read_text())["step"] == 7


def test_the_last_two_are_kept_and_no_half_one_is_seen(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        write(tmp_path, dataclasses.replace(STATE, step=step))
    # What a process that was killed while writing leaves.
    (tmp_path / ".step-000000000011.123").mkdir()
    assert [read_checkpoint(folder).step for folder in list_checkpoints(tmp_path)] == [2, 10]


@pytest.mark.parametrize("name", [STATE_FILE, NOTE_FILE])
def test_a_damaged_or_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, STATE)
    file = folder / name
    file.write_bytes(file.read_bytes()[:-1] + b"#")
    with pytest.raises(InvalidError, match=r"is damaged|cannot be read"):
        read_checkpoint(folder)
    file.unlink()
    with pytest.raises(InvalidError, match="cannot be read"):
        read_checkpoint(folder)

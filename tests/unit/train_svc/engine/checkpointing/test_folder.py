import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.common.digest import digest_file
from services.common.errors import InvalidError, StorageFullError
from services.train_svc.engine.checkpointing import (
    Best,
    FormatError,
    Note,
    list_checkpoints,
    newest_whole,
    read_checkpoint,
    read_newest,
    write_checkpoint,
)
from services.train_svc.engine.checkpointing.dtypes import Array
from services.train_svc.engine.checkpointing.folder import STATE_FILE
from services.train_svc.engine.checkpointing.note import NOTE_FILE

Notes = Callable[..., Note]
SMALL = {"model/x": np.ones(3, np.float32)}


def steps(root: Path) -> list[int]:
    return [read_checkpoint(folder).note.step for folder in list_checkpoints(root)]


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path, state: dict[str, Array], make_note: Notes) -> None:
    note = make_note(7, metrics={"accuracy": 0.5})
    folder = write_checkpoint(tmp_path / "run", state, note)
    found = read_checkpoint(folder)
    digest = digest_file(folder / STATE_FILE)
    assert found.note == dataclasses.replace(note, state_digest=digest)
    assert {name: array.tolist() for name, array in found.tensors.items()} == {
        name: array.tolist() for name, array in state.items()
    }


def test_it_is_safetensors_and_json_and_nothing_else(tmp_path: Path, make_note: Notes) -> None:
    folder = write_checkpoint(tmp_path, SMALL, make_note(7))
    assert sorted(path.name for path in folder.iterdir()) == [NOTE_FILE, STATE_FILE]
    assert json.loads((folder / NOTE_FILE).read_text())["format"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000007"]


def test_a_metric_that_is_not_finite_does_not_make_the_note_unreadable(tmp_path: Path, make_note: Notes) -> None:
    note = make_note(1, metrics={"loss": float("nan"), "accuracy": 0.5})
    assert read_checkpoint(write_checkpoint(tmp_path, SMALL, note)).note.metrics == {"accuracy": 0.5}


def test_metrics_without_the_step_of_their_weights_are_refused(make_note: Notes) -> None:
    with pytest.raises(InvalidError, match="evaluated_step: is required beside metrics"):
        make_note(1, metrics={"accuracy": 0.5}, evaluated_step=None)


def test_the_newest_two_are_kept(tmp_path: Path, make_note: Notes) -> None:
    for step in (1, 2, 10):
        write_checkpoint(tmp_path, SMALL, make_note(step))
    assert steps(tmp_path) == [2, 10]


@pytest.mark.parametrize(
    ("rises", "values", "kept"),
    [
        (True, {1: 0.9, 2: 0.7, 3: 0.8, 4: 0.1, 5: 0.2}, [1, 3, 4, 5]),
        (False, {1: 0.9, 2: 0.7, 3: 0.8, 4: 1.1, 5: 1.2}, [2, 3, 4, 5]),
        (True, {1: 0.9, 2: 0.9, 3: 0.9, 4: 0.1, 5: 0.2}, [2, 3, 4, 5]),
        (True, {1: 0.1, 2: float("nan"), 3: 0.8, 4: 0.9, 5: 0.7}, [3, 4, 5]),
    ],
    ids=["rises", "falls", "of equal ones the newer", "nan is never good"],
)
def test_the_best_are_kept_beside_the_newest(
    tmp_path: Path, make_note: Notes, rises: bool, values: dict[int, float], kept: list[int]
) -> None:
    best = Best(count=2, metric="m", rises=rises)
    for step, value in values.items():
        write_checkpoint(tmp_path, SMALL, make_note(step, metrics={"m": value}), best=best)
    assert steps(tmp_path) == kept


def test_a_later_checkpoint_does_not_pass_for_the_one_that_was_evaluated(tmp_path: Path, make_note: Notes) -> None:
    best = Best(count=1, metric="m", rises=True)
    for step in (10, 11, 12, 13):
        note = make_note(step, metrics={"m": 0.9}, evaluated_step=10)
        write_checkpoint(tmp_path, SMALL, note, best=best)
    assert steps(tmp_path) == [10, 12, 13]


def test_a_folder_that_somebody_reads_is_spared(tmp_path: Path, make_note: Notes) -> None:
    first = write_checkpoint(tmp_path, SMALL, make_note(1))
    for step in (2, 3, 4):
        write_checkpoint(tmp_path, SMALL, make_note(step), spared=[first])
    assert steps(tmp_path) == [1, 3, 4]


def test_the_same_step_again_takes_the_place_of_the_first(tmp_path: Path, make_note: Notes) -> None:
    write_checkpoint(tmp_path, SMALL, make_note(1))
    folder = write_checkpoint(tmp_path, {"model/x": np.zeros(3)}, make_note(1))
    assert read_checkpoint(folder).tensors["model/x"].tolist() == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", [STATE_FILE, NOTE_FILE])
@pytest.mark.parametrize("blow", [damage, Path.unlink, lambda file: os.truncate(file, 20)], ids=["bit", "gone", "cut"])
def test_a_damaged_one_is_refused_with_the_older_that_can_be_resumed_from(
    tmp_path: Path, make_note: Notes, name: str, blow: Callable[[Path], None]
) -> None:
    whole, struck = (write_checkpoint(tmp_path, SMALL, make_note(step)) for step in (1, 2))
    if name == NOTE_FILE and blow is damage:
        # One bit of its end would be white space.
        (struck / name).write_text((struck / name).read_text().replace('"step": 2', '"stop": 2'))
    else:
        blow(struck / name)
    with pytest.raises(InvalidError, match="step-000000000002 is damaged or incomplete") as caught:
        read_checkpoint(struck)
    assert f"{whole} is whole: resume from it" in caught.value.message
    assert newest_whole(tmp_path) == whole
    found = read_newest(tmp_path)
    assert found is not None
    assert found.note.step == 1


def test_if_none_is_whole_the_error_says_so(tmp_path: Path, make_note: Notes) -> None:
    first, second = (write_checkpoint(tmp_path, SMALL, make_note(step)) for step in (1, 2))
    for folder in (first, second):
        damage(folder / STATE_FILE)
    with pytest.raises(InvalidError, match="no older one beside it is whole: start the run anew"):
        read_checkpoint(second)
    assert newest_whole(tmp_path) is None
    assert read_newest(tmp_path) is None
    assert read_newest(tmp_path / "nothing") is None


@pytest.mark.parametrize(("version", "cure"), [(1, "finish that run with the version"), (3, "a newer version")])
def test_one_of_another_version_says_what_to_do_and_is_neither_passed_over_nor_dropped(
    tmp_path: Path, make_note: Notes, version: int, cure: str
) -> None:
    old = tmp_path / "step-000000000001"
    old.mkdir()
    # As version 1 wrote it.
    note = {"format": version, "step": 1, "steps_per_epoch": 5, "spec_digest": "", "dataset_digest": "",
            "torch_version": "2.13.0", "state_digest": "sha256:0"}  # fmt: skip
    (old / NOTE_FILE).write_text(json.dumps(note))
    (old / STATE_FILE).write_bytes(b"tensors")
    with pytest.raises(FormatError, match=cure):
        read_checkpoint(old)
    with pytest.raises(FormatError, match="or start a new run"):
        read_newest(tmp_path)
    for step in (2, 3, 4):
        write_checkpoint(tmp_path, SMALL, make_note(step))
    assert [folder.name for folder in list_checkpoints(tmp_path)] == [f"step-{step:012d}" for step in (1, 3, 4)]


def write_for_ever(root: Path, note: Note) -> None:
    state = {f"model/{index}": np.full(1 << 18, index, np.float32) for index in range(8)}
    for step in range(1, 10**6):
        write_checkpoint(root, state, dataclasses.replace(note, step=step))


def test_a_process_killed_at_any_moment_leaves_only_whole_ones_and_the_next_removes_the_rest(
    tmp_path: Path, make_note: Notes
) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        process = context.Process(target=write_for_ever, args=(tmp_path, make_note(0)))
        process.start()
        while not (list_checkpoints(tmp_path) and list(tmp_path.glob(".step-*"))):
            time.sleep(0.001)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert newest_whole(tmp_path) == list_checkpoints(tmp_path)[-1]
        assert all(read_checkpoint(folder) for folder in list_checkpoints(tmp_path))
    (tmp_path / ".step-000000000001.left").mkdir()
    write_checkpoint(tmp_path, SMALL, make_note(10**7))
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_the_earlier_ones_whole_and_says_how_much_is_needed(
    small_disk: Path, make_note: Notes
) -> None:
    state = {"model/x": np.ones(3 << 18, np.float32)}
    for step in (1, 2):
        write_checkpoint(small_disk, state, make_note(step))
    wanted = r"step 3 in .*: it takes 3,145,\d{3} bytes and 2,\d{3},\d{3} are free; free at least 1,\d{3},\d{3} bytes"
    with pytest.raises(StorageFullError, match="no room for the checkpoint of " + wanted):
        write_checkpoint(small_disk, state, make_note(3))
    assert steps(small_disk) == [1, 2]
    assert [path.name for path in sorted(small_disk.iterdir())] == ["step-000000000001", "step-000000000002"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from services.common.errors import StorageFullError
from services.train_svc.engine.checkpointing import Note, write_checkpoint
note = Note(step=2, steps_per_epoch=5, spec_digest="", dataset_digest="", engine="torch", engine_version="2.13.0")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    write_checkpoint(Path(sys.argv[1]), {"x": np.ones(1 << 20, np.float32)}, note)
except StorageFullError as error:
    print(error.message)
"""


def test_a_write_that_breaks_off_in_the_middle_leaves_nothing_and_names_the_limit(
    tmp_path: Path, make_note: Notes
) -> None:
    write_checkpoint(tmp_path, SMALL, make_note(1))
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "the checkpoint of step 2 takes 4,194," in told
    assert "ulimit -f" in told
    assert steps(tmp_path) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000001"]

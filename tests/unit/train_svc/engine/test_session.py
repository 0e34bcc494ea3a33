"""From a record set to a package."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from services.common.errors import InvalidError
from services.common.records import RecordSet
from services.train_svc.engine.checkpointing import list_checkpoints
from services.train_svc.engine.dataset import PictureDataset
from services.train_svc.engine.ports import Point, Ports
from services.train_svc.engine.session import Assignment, Stopped, carry_out
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.finishing import Outcome

SPEC = {
    "model": {"template": "resnet_small", "width": 16},
    "epochs": 6,
    "batch_size": 16,
    "threads": 1,
    "device": "cpu",
    "model_name": "digits",
}


class Recorder:
    def __init__(self) -> None:
        self.points: list[tuple[str, int, float]] = []

    def log(self, points: Sequence[Point]) -> None:
        self.points += [(point.key, point.step, point.value) for point in points]

    def values(self, key: str) -> list[float]:
        return [value for name, _, value in self.points if name == key]


def assignment(folder: Path, **changes: object) -> Assignment:
    spec = TrainSpec.from_mapping({**SPEC, **changes})
    return Assignment(spec=spec, run_id="run_1", folder=folder, submitted_at=time.time())


def train(records: RecordSet, folder: Path, ports: Ports | None = None, **changes: object) -> Outcome:
    return carry_out(assignment(folder, **changes), PictureDataset(records=records), ports or Ports())


def test_a_dataset_version_becomes_a_package_that_says_where_it_came_from(
    digit_records: RecordSet, tmp_path: Path
) -> None:
    recorder = Recorder()
    outcome = train(digit_records, tmp_path, Ports(metrics=recorder))
    package = outcome.package
    card = package.card
    assert (card.name, card.variant, card.run, card.dataset) == ("digits", "trained", "run_1", digit_records.digest)
    accuracy = card.metrics["accuracy"]
    assert (accuracy.split, accuracy.samples, accuracy.value) == ("test", 100, outcome.metrics["accuracy"])
    assert accuracy.ci_low < accuracy.value < accuracy.ci_high <= 1
    assert accuracy.value > 0.5
    assert package.labels == tuple("0123456789")
    assert TrainSpec.from_mapping(card.recipe["train"]) == assignment(tmp_path).spec
    assert recorder.values("accuracy") == [accuracy.value]
    assert len(recorder.values("first_step_s")) == 1


def test_raw_files_through_the_package_give_the_measured_accuracy(digit_records: RecordSet, tmp_path: Path) -> None:
    package = train(digit_records, tmp_path).package
    test = digit_records.select(split="test")
    inputs = package.preprocess.batch([test.read(index) for index in range(len(test))])
    session = onnxruntime.InferenceSession(package.model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": inputs})
    right = scores.argmax(1) == test.targets
    assert right.mean() == package.card.metrics["accuracy"].value
    # The golden inputs are the first of them.
    assert np.array_equal(package.golden.inputs["input"], inputs[:8])
    (replayed,) = session.run(None, package.golden.inputs)
    assert package.golden.differences({"logits": replayed}, package.signature) == []


def test_a_stopped_run_goes_on_to_the_same_package(digit_records: RecordSet, tmp_path: Path) -> None:
    whole = Recorder()
    straight = train(digit_records, tmp_path / "whole", Ports(metrics=whole))

    pieces = Recorder()
    ports = Ports(metrics=pieces, stop=lambda: len(pieces.values("train_loss")) >= 33)
    with pytest.raises(Stopped, match="stopped at step 33 of 120"):
        train(digit_records, tmp_path / "pieces", ports)
    (folder,) = list_checkpoints(tmp_path / "pieces" / "checkpoints")[-1:]
    given = assignment(tmp_path / "again")
    again = carry_out(
        Assignment(**{**vars(given), "resume_from": folder}),
        PictureDataset(records=digit_records),
        Ports(metrics=pieces),
    )

    def curve(recorder: Recorder) -> list[tuple[str, int, float]]:
        return [point for point in recorder.points if point[0] != "first_step_s"]

    assert curve(pieces) == curve(whole)
    assert again.package.weights is not None
    assert straight.package.weights is not None
    assert again.package.weights.read_bytes() == straight.package.weights.read_bytes()


def test_progress_never_falls_and_leaves_room_for_the_export(digit_records: RecordSet, tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []

    class Told:
        def report(self, *, progress: float, eta_s: float | None, message: str) -> None:
            told.append((progress, message))

    train(digit_records, tmp_path, Ports(progress=Told()), epochs=2)
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert [message for _, message in told[-2:]] == ["evaluating on the test split", "exporting to ONNX"]


Write = Callable[..., RecordSet]


def picture(shade: int, *shape: int) -> np.ndarray:
    return np.full(shape or (8, 8), shade, np.uint8)


def test_colour_pictures_of_different_sizes_are_resized_as_the_spec_says(write_records: Write, tmp_path: Path) -> None:
    sizes = {"train": (9, 12, 3), "test": (20, 8, 3)}
    rows = [
        (split, label, picture(shade, *size))
        for split, size in sizes.items()
        for label, shade in (("dark", 30), ("light", 220)) * 8
    ]
    size = {"image_height": 8, "image_width": 8, "in_channels": 3}
    model = {"template": "mlp", "hidden": [16], **size}
    outcome = train(write_records(rows), tmp_path, model=model, batch_size=4, epochs=10)
    assert outcome.package.signature.inputs[0].shape == (-1, 3, 8, 8)
    assert outcome.metrics["accuracy"] == 1.0


def test_one_class_only_is_refused(write_records: Write, tmp_path: Path) -> None:
    records = write_records([(split, "cat", picture(9)) for split in ("train", "test")], [8, 8, 1])
    with pytest.raises(InvalidError, match="the dataset has the classes cat; 2 or more are needed"):
        train(records, tmp_path)


def test_a_dataset_without_a_test_split_is_refused_before_training(write_records: Write, tmp_path: Path) -> None:
    records = write_records([("train", label, picture(9)) for label in "ab"], [8, 8, 1])
    with pytest.raises(InvalidError, match="has the splits train; 'train' and 'test' are needed"):
        train(records, tmp_path)


def test_a_sample_without_a_label_is_named(write_records: Write, tmp_path: Path) -> None:
    rows = [
        ("train", "a", picture(1)),
        ("train", "", picture(2)),
        ("train", "b", picture(3)),
        ("test", "a", picture(4)),
    ]
    with pytest.raises(InvalidError, match=r"the sample .train/1\.png. of the split .train. has no label"):
        train(write_records(rows, [8, 8, 1]), tmp_path)


def test_a_model_that_takes_no_pictures_is_refused(digit_records: RecordSet, tmp_path: Path) -> None:
    model = {"name": "x", "input_shape": [64], "body": [{"linear": {"out_features": 10}}]}
    with pytest.raises(InvalidError, match=r"takes \[64\], wanted \[1 or 3 channels, height, width\]"):
        train(digit_records, tmp_path, model=model)


def test_pictures_of_different_size_and_colour_are_read_at_one(
    write_records: Callable[..., RecordSet], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    random = np.random.default_rng(0)
    rows = [
        (split, str(index % 2), random.integers(0, 255, (20 + index, 30, 3), dtype=np.uint8))
        for split, count in (("train", 8), ("test", 4))
        for index in range(count)
    ]
    caplog.set_level("INFO")
    package = train(write_records(rows, [-1, 30, -1]), tmp_path, epochs=1).package
    assert package.signature.inputs[0].shape == (-1, 3, 64, 64)
    assert "differ in size and are read at 64 x 64" in caplog.text

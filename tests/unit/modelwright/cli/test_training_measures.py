"""`modelwright train sensitivity` and `fit-batch`: real steps of small networks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.train_svc.engine.precision import read_policy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for index in range(40):
        folder = tmp_path / "pictures" / ("train" if index < 24 else "val") / str(index % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (8, 8), np.uint8)).save(folder / f"{index}.png")
    path = tmp_path / "train.yaml"
    model = "{template: mlp, hidden: [16, 8]}"
    path.write_text(f"data: pictures\ntrain: {{model: {model}, batch_size: 8, device: cpu, epochs: 1}}\n", "utf-8")
    return path


@pytest.mark.parametrize("base", ["fp16", "bf16"])
def test_the_measured_policy_names_every_operator_and_can_be_trained_under(
    mw: Any, file: Path, tmp_path: Path, base: str
) -> None:
    out = tmp_path / "policy.yaml"
    found = mw("train", "sensitivity", file, "--out", out, "--base", base, "--batches", 1)
    assert found.code == 0, found.err
    policy = read_policy(out)
    assert policy.base == base
    assert len(policy.operators) >= 3
    assert "plain autocast: loss off by" in found.err
    trained = mw("train", "run", file, "-q", "-s", f"precision={{name: {base}, policy: {out}}}", "-o", "json")
    assert json.loads(trained.out)["precision"] == base


def test_sensitivity_is_measured_on_torch_alone(mw: Any, file: Path) -> None:
    found = mw("train", "sensitivity", file, "-s", "engine=tensorflow")
    assert (found.code, "use --set engine=torch" in found.err) == (2, True)


def test_the_largest_batch_is_told_with_what_was_measured(mw: Any, file: Path) -> None:
    found = mw("train", "fit-batch", file, "--budget", "64MiB")
    assert found.code == 0, found.err
    head, *rows, last = found.out.splitlines()
    assert head.split() == ["batch", "peak", "samples/s"]
    assert rows
    assert last.startswith("batch_size: ")
    plain = json.loads(mw("train", "fit-batch", file, "--budget", "64MiB", "-o", "json").out)
    assert plain["peak_bytes"] <= 64 * 2**20


def test_without_a_budget_or_a_gpu_it_asks_for_one(mw: Any, file: Path) -> None:
    found = mw("train", "fit-batch", file)
    assert (found.code, "give --budget 8GiB" in found.err) == (2, True)


def test_a_budget_of_the_wrong_form_is_refused(mw: Any, file: Path) -> None:
    found = mw("train", "fit-batch", file, "--budget", "lots")
    assert (found.code, "wanted a size above zero" in found.err) == (2, True)

"""What the trainer adds to a bare loop of the same work, on the CPU.

    python -m benchmarks.trainer_cost [--rounds 7]

Both make the same steps: the same model from the same seed, the same batches, forward, cross entropy, backward, fused
AdamW, and the loss read back each step. The trainer beside it sets the rate by its schedule, measures the gradient's
norm, looks for what is not finite, logs three metrics a step to its curve, and shows lines. Rounds of both take turns;
a round is the wall clock of its steps without the first. Target: under 3% more.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.keep import Row, figure, record
from modelwright.train import Trainer, build, describe
from services.train_svc.engine.architecture import Description

STEPS = 60
Batches = list[tuple[dict[str, np.ndarray], np.ndarray]]
CASES: dict[str, tuple[Description, Callable[[np.random.Generator], dict[str, np.ndarray]], int]] = {
    "resnet_small, 32 x 1 x 8 x 8": (
        describe("resnet_small"),
        lambda chance: {"input": chance.standard_normal((32, 1, 8, 8), np.float32)},
        10,
    ),
    "resnet 18, 16 x 3 x 64 x 64": (
        describe("resnet", size="18", image_height=64, image_width=64, num_classes=10),
        lambda chance: {"input": chance.standard_normal((16, 3, 64, 64), np.float32)},
        10,
    ),
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows: list[Row] = []
    figures = []
    for name, (description, draw, classes) in CASES.items():
        data = batches(draw, classes)
        times: dict[str, list[float]] = {"bare loop": [], "trainer": []}
        for _ in range(options.rounds):
            times["bare loop"].append(bare(description, data))
            times["trainer"].append(ours(description, data))
        for way, found in times.items():
            middle = statistics.median(found)
            rows.append({"case": name, "way": way, "ms": middle, "least": min(found), "most": max(found)})
        more = 100 * (statistics.median(times["trainer"]) / statistics.median(times["bare loop"]) - 1)
        figures.append(figure(f"{name}: the trainer's own cost", more, "%", under=3))
    record("trainer_cost", rows, figures)


def batches(draw: Callable[[np.random.Generator], dict[str, np.ndarray]], classes: int) -> Batches:
    """Return the batches of a run."""
    chance = np.random.default_rng(0)
    inputs = [draw(chance) for _ in range(STEPS)]
    return [(each, chance.integers(0, classes, len(next(iter(each.values()))))) for each in inputs]


def bare(description: Description, data: Batches) -> float:
    """Return milliseconds a step of a plain loop."""
    torch.set_num_threads(2)
    model = build(description).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    began = 0.0
    for number, (inputs, labels) in enumerate(data):
        if number == 1:
            began = time.perf_counter()
        scores = model(*map(torch.from_numpy, inputs.values()))
        loss = functional.cross_entropy(scores, torch.from_numpy(labels))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
    return (time.perf_counter() - began) * 1000 / (STEPS - 1)


def ours(description: Description, data: Batches) -> float:
    """Return milliseconds a step of the trainer."""
    clock = Clock()
    given: Any = [{**inputs, "labels": labels} for inputs, labels in data]
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"epochs": 1, "threads": 2, "checkpoint_every_s": 1e6, "display": "lines"}
        Trainer(description, given, lr=1e-3, folder=Path(folder), callbacks=[clock], **settings).fit()
    return (clock.ended - clock.began) * 1000 / (STEPS - 1)


class Clock:
    """Notes when the first and the last step ended."""

    began = ended = 0.0

    def on_step(self, measured: Any, rate: float) -> None:  # noqa: ANN401 - the callback's form
        """Take note of a step."""
        self.ended = time.perf_counter()
        self.began = self.began or self.ended


if __name__ == "__main__":
    main()

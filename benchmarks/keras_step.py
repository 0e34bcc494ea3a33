"""A whole training step of BERT-base: ours, and Keras's own on its torch backend, on one GPU in one run.

    python -m benchmarks.keras_step [--rounds 5]

Forward, backward and AdamW in BF16: ours compiled, under autocast, with torch's fused AdamW; Keras's by
`train_on_batch` under its policy `mixed_bfloat16` with its AdamW. Mean squares of both outputs are the loss. Wall clock
around synchronised steps, the median of rounds that take turns. Target: at least 4 times as fast.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from benchmarks.keep import Row, figure, record
from benchmarks.peers import keras_bert
from modelwright.train import build, describe

STEPS, WARMUP = 10, 5
SHAPES = ((32, 128), (64, 512))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [row for shape in SHAPES for row in measured(*shape, device, options.rounds)]
    figures = []
    for ours, keras in zip(rows[::2], rows[1::2], strict=True):
        what = f"training step of BERT-base, {ours['batch']} x {ours['time']}: speed over Keras on torch"
        figures.append(figure(what, keras["ms"] / ours["ms"], "x", over=4, peer=f"{keras['ms']} ms"))
    record("keras_step", rows, figures)


def measured(batch: int, length: int, device: str, rounds: int) -> list[Row]:
    """Return ours and Keras's median step."""
    ids = torch.randint(0, 30522, (batch, length), device=device)
    steps = {"modelwright": our_step(ids), "keras": keras_step(ids)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(timed(step))
    card = torch.cuda.get_device_name() if device == "cuda" else device
    return [
        {
            "model": name,
            "batch": batch,
            "time": length,
            "ms": round(statistics.median(found), 2),
            "least": round(min(found), 2),
            "most": round(max(found), 2),
            "card": card,
            "torch": torch.__version__,
        }
        for name, found in times.items()
    ]


def our_step(ids: torch.Tensor) -> Callable[[], None]:
    """Return one step of ours."""
    model = build(describe("bert", size="base")).to(ids.device).train()
    model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(ids.device.type, torch.bfloat16):
            outputs = model(ids)
        sum(each.float().square().mean() for each in outputs.values()).backward()
        optimizer.step()

    return step


def keras_step(ids: torch.Tensor) -> Callable[[], None]:
    """Return one step of Keras's."""
    keras: Any = import_module("keras")
    model: Any = keras_bert(ids.shape[1])
    model.compile(optimizer=keras.optimizers.AdamW(1e-3), loss="mse")
    targets = [torch.zeros((*ids.shape, 768), device=ids.device), torch.zeros((ids.shape[0], 768), device=ids.device)]
    return lambda: model.train_on_batch(ids, targets)


def timed(step: Callable[[], None]) -> float:
    """Return the median milliseconds of some steps."""
    found = []
    for number in range(WARMUP + STEPS):
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if number >= WARMUP:
            found.append((time.perf_counter() - start) * 1000)
    return statistics.median(found)


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "torch")
    main()

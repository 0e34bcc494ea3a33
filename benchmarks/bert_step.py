"""A training step of BERT-base with its masked-language-model head: ours beside plain PyTorch, Hugging Face and Keras.

    python -m benchmarks.bert_step [--shapes 64x512 32x128] [--only NAME ...] [--rounds 3]

The same model, batch and loss (mean cross entropy over the masked places), AdamW, gradients clipped to norm 1, on one
GPU in one run. Peers are Hugging Face's `BertForMaskedLM` with fused attention and fused AdamW: FP32, TF32, AMP BF16,
AMP BF16 compiled; Hugging Face's `Trainer` with bf16 and torch_compile; Keras on torch by `train_on_batch` under
`mixed_bfloat16`. Ours is `Trainer(...)` as a user calls it, data loading and logging with it. A round is the wall clock
of 24 steps (three epochs of the eight batches, so that every round holds the same work), with the device waited for at
both ends; a figure is the median of the rounds; memory is the most that tensors took from the first step on: what is
replayed as a CUDA graph allocates when it is captured.
"""

import argparse
import gc
import os
import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.bert_peers import PEERS, STEPS, WARM, Timed
from benchmarks.keep import Row, figure, record
from modelwright.train import Precision, Trainer, describe

SHAPES = {"64x512": (64, 512), "32x128": (32, 128)}
MASKED = 0.15
OURS: dict[str, dict[str, Any]] = {
    "modelwright bf16": {},
    "modelwright bf16, 10.5 GiB": {"memory_budget": "10.5GiB"},
    "modelwright bf16, 6 GiB": {"memory_budget": "6GiB"},
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    parser.add_argument("--only", nargs="*", default=[*PEERS, *OURS])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[Row] = []
    for shape in options.shapes:
        for name in options.only:
            if shape == "64x512" or "GiB" not in name:
                rows.append(measured(name, shape, options.rounds))
                print(rows[-1], flush=True)
                record("bert_step", rows, figures(rows))


def figures(rows: list[Row]) -> list[Row]:
    """Return what the issue asks for, of what was measured."""
    found = []
    by_name = {(row["shape"], row["variant"]): row for row in rows}
    ours, small = by_name.get(("64x512", "modelwright bf16")), by_name.get(("32x128", "modelwright bf16"))
    compiled = by_name.get(("64x512", "amp bf16 compiled"), {})
    peer = f"{compiled.get('ms', '-')} ms, {compiled.get('mib', '-')} MiB"
    if ours:
        found.append(figure("BERT-base 64 x 512: a step", ours["ms"], "ms", under=55.01, peer=peer))
        found.append(figure("BERT-base 64 x 512: peak memory", ours["mib"], "MiB", under=10801, peer=peer))
        for name, least in (("fp32", 9), ("tf32", 3.8), ("keras", 4)):
            if other := by_name.get(("64x512", name)):
                what = f"BERT-base 64 x 512: speed over {name}"
                found.append(figure(what, other["ms"] / ours["ms"], "x", over=least, peer=f"{other['ms']} ms"))
    if small:
        other = by_name.get(("32x128", "amp bf16 compiled"), {})
        found.append(figure("BERT-base 32 x 128: a step", small["ms"], "ms", under=12.01, peer=f"{other.get('ms')} ms"))
    if tight := by_name.get(("64x512", "modelwright bf16, 6 GiB")):
        found.append(figure("BERT-base 64 x 512 in 6 GiB: peak memory", tight["mib"], "MiB", under=6144.01))
    return found


def measured(name: str, shape: str, rounds: int) -> Row:
    """Return one variant's median step and its peak."""
    batch, length = SHAPES[shape]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    make = PEERS[name] if name in PEERS else lambda *given: ours(OURS[name], *given)
    times, mib = make(batches(batch, length), rounds)
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()
    return {
        "variant": name,
        "shape": shape,
        "ms": round(statistics.median(times), 2),
        "rounds": [round(each, 1) for each in times],
        "least": round(min(times), 2),
        "most": round(max(times), 2),
        "mib": round(mib),
        "sm_mhz": torch.cuda.clock_rate(),
        "watt": torch.cuda.power_draw() // 1000,
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


def batches(batch: int, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return token ids and labels [batch, length] of eight batches; labels are -100 where nothing is masked."""
    chance = np.random.default_rng(0)
    found = []
    for _ in range(8):
        tokens = chance.integers(0, 30522, (batch, length))
        masked = chance.random((batch, length)) < MASKED
        found.append((np.where(masked, 103, tokens), np.where(masked, tokens, -100)))
    return found


def ours(settings: dict[str, Any], data: list[tuple[np.ndarray, np.ndarray]], rounds: int) -> Timed:
    """Return what our trainer takes."""
    clock = Clock(rounds)
    given = [{"tokens": tokens, "labels": labels} for tokens, labels in data]
    trainer = Trainer(
        describe("bert", head="masked_lm"),
        given,
        loss="masked_lm",
        lr=1e-4,
        clip="norm",
        precision=Precision("bf16"),
        epochs=(WARM + (rounds + 1) * STEPS) // len(given) + 2,
        batch_size=len(data[0][0]),
        checkpoint_every_s=1e6,
        callbacks=[clock],
        display="silent",
        **settings,
    )
    trainer.fit()
    if trainer.memory_plan:
        print(trainer.memory_plan.table(), flush=True)
    return clock.times, clock.mib


class Clock:
    """Times rounds of steps; the device is waited for at the ends of each."""

    def __init__(self, rounds: int) -> None:
        self.rounds, self.times, self.mib = rounds, list[float](), 0.0
        self._began = 0.0

    def on_step(self, measured: Any, rate: float) -> None:  # noqa: ANN401
        """Take note of a step."""
        place, rest = divmod(measured.step - WARM, STEPS)
        if rest or not 0 <= place <= self.rounds:
            return
        torch.cuda.synchronize()
        now = time.perf_counter()
        if place:
            self.times.append((now - self._began) * 1000 / STEPS)
            self.mib = torch.cuda.max_memory_allocated() / 2**20
        self._began = now


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "torch")
    main()

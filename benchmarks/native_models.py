"""Forward and backward of our models beside the fastest independent implementations, on one GPU in one run.

    python -m benchmarks.native_models [--cases resnet152 vit_b bert_base llama_1b] [--rounds 7]

Peers: torchvision and timm (ResNet-152, ViT-B/16), transformers (BERT-base, Llama-3.2-1B) with fused attention, and a
BERT-base of Keras's own layers on its torch backend. Eager, under `torch.compile`, and under it with CUDA graphs,
where the host's launching of kernels no longer counts (hundreds of small ones in a ResNet-152). BF16: by autocast over
float32 weights, for Llama with BF16 weights. Candidates of a
case take turns, so that a warming card favours none; a round is the median of its steps by CUDA events, a figure the
median of the rounds. Targets: at most 1.02 times the fastest peer; at least 4 times as fast as Keras. Needs a GPU,
torchvision, timm, transformers and Keras.
"""

import argparse
import gc
import json
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from benchmarks.keep import FOLDER, Row, figure, record
from benchmarks.peers import PEERS, Peer
from modelwright.train import build, describe

STEPS = 10
WARMUP = 5
COMPILERS = {"compiled": "default", "graphs": "reduce-overhead"}
Make = Callable[[], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model at one size."""

    name: str
    ours: Make
    inputs: Callable[[], tuple[torch.Tensor, ...]]
    channels_last: bool = False
    """Memory format of convolutional nets, for all candidates."""
    weights: torch.dtype = torch.float32


def pictures() -> tuple[torch.Tensor, ...]:
    """Return a batch of random pictures."""
    return (torch.randn(128, 3, 224, 224, device="cuda"),)


def tokens(batch: int, time: int, below: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Return what draws a batch of token ids."""
    return lambda: (torch.randint(0, below, (batch, time), device="cuda"),)


CASES = (
    Case(name="resnet152", ours=lambda: build(describe("resnet", size="152")), inputs=pictures, channels_last=True),
    Case(name="vit_b", ours=lambda: build(describe("vit", size="base")), inputs=pictures),
    Case(name="bert_base", ours=lambda: build(describe("bert", size="base")), inputs=tokens(64, 512, 30522)),
    Case(name="bert_base_32x128", ours=lambda: build(describe("bert", size="base")), inputs=tokens(32, 128, 30522)),
    Case(
        name="llama_1b",
        ours=lambda: build(describe("llama", size="llama-3.2-1b")),
        inputs=tokens(4, 2048, 128256),
        weights=torch.bfloat16,
    ),
)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--modes", nargs="*", default=["eager", *COMPILERS])
    options = parser.parse_args()
    rows = earlier(options.cases, options.modes)
    for case in CASES:
        if case.name in options.cases:
            for mode in options.modes:
                rows += measured(case, mode, options.rounds)
                record("native_models", rows, figures(rows))


def earlier(cases: list[str], modes: list[str]) -> list[Row]:
    """Return the kept rows of the same card and torch that this run does not measure again."""
    here = (torch.cuda.get_device_name(), torch.__version__)
    path = FOLDER / "native_models.json"
    kept = json.loads(path.read_text())["rows"] if path.is_file() else []
    return [
        row
        for row in kept
        if (row["card"], row["torch"]) == here and not (row["case"] in cases and row["mode"] in modes)
    ]


def figures(rows: list[Row]) -> list[Row]:
    """Return each case beside its fastest peer, and BERT, in our faster mode, beside Keras, which has one."""
    found = []
    for case, mode in dict.fromkeys((row["case"], row["mode"]) for row in rows):
        here = {row["model"]: row for row in rows if (row["case"], row["mode"]) == (case, mode)}
        ours = here.pop("modelwright")["ms"]
        here.pop("keras", None)
        fastest = min(here.values(), key=lambda row: row["ms"])
        what = f"{case}, {mode}: our time over the fastest peer's"
        found.append(figure(what, ours / fastest["ms"], "x", under=1.02, peer=f"{fastest['model']} {fastest['ms']} ms"))
    for keras in (row for row in rows if row["model"] == "keras"):
        ours = min(row["ms"] for row in rows if row["case"] == keras["case"] and row["model"] == "modelwright")
        what = f"{keras['case']}: speed over Keras on torch"
        found.append(figure(what, keras["ms"] / ours, "x", over=4, peer=f"{keras['ms']} ms"))
    return found


def measured(case: Case, mode: str, rounds: int) -> list[Row]:
    """Return the median step of every candidate of a case."""
    inputs = case.inputs()
    steps = {peer.name: step(model, inputs, mixes=peer.mixes) for peer, model in candidates(case, mode)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    memory = dict.fromkeys(steps, 0)
    for number in range(rounds):
        # Every second round the other way round: whoever follows another finds the card as that one left it.
        for name in list(steps)[:: 1 if number % 2 else -1]:
            torch.cuda.reset_peak_memory_stats()
            times[name].append(timed(steps[name]))
            memory[name] = torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()
    card = torch.cuda.get_device_name()
    rows: list[Row] = [
        {
            "case": case.name,
            "mode": mode,
            "model": name,
            "ms": round(statistics.median(found), 3),
            "least": round(min(found), 3),
            "most": round(max(found), 3),
            "activations_mib": memory[name] // 2**20,
            "card": card,
            "torch": torch.__version__,
        }
        for name, found in times.items()
    ]
    del steps
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()
    return rows


def candidates(case: Case, mode: str) -> Iterator[tuple[Peer, nn.Module]]:
    """Yield our model and its peers, ready to train."""
    peers = [Peer(name="modelwright", make=case.ours), *PEERS[case.name]]
    for peer in peers:
        if mode != "eager" and not peer.compiles:
            continue
        model: Any = peer.make().to("cuda", case.weights).train()
        model = model.to(memory_format=torch.channels_last) if case.channels_last else model
        if mode != "eager":
            model.compile(mode=COMPILERS[mode])
        yield peer, model


def step(model: nn.Module, inputs: tuple[torch.Tensor, ...], *, mixes: bool) -> Callable[[], None]:
    """Return one forward and backward pass."""

    def run() -> None:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch's own
        for parameter in model.parameters():
            parameter.grad = None
        with torch.autocast("cuda", torch.bfloat16, enabled=not mixes):
            outputs = model(*inputs)
        sum(each.float().mean() for each in tensors(outputs)).backward()  # type: ignore[union-attr]  # at least one

    return run


def tensors(outputs: Any) -> list[torch.Tensor]:  # noqa: ANN401 - each library has its own
    """Return the tensors of a result."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    values = outputs.values() if hasattr(outputs, "values") else outputs
    return [each for each in values if isinstance(each, torch.Tensor)]


def timed(run: Callable[[], None]) -> float:
    """Return the median milliseconds of some steps."""
    for _ in range(WARMUP):
        run()
    marks: list[Any] = [torch.cuda.Event(enable_timing=True) for _ in range(STEPS + 1)]  # type: ignore[no-untyped-call]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    torch.cuda.synchronize()
    return float(statistics.median(first.elapsed_time(second) for first, second in pairwise(marks)))


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "torch")
    main()

"""The measured precision policy beside float32 and plain autocast, on one GPU in one run.

    python -m benchmarks.precision_policy [--cases tacotron2 tacotron2_pointing bert conformer] [--steps 100]

Each case is trained from the same weights on the same batches in float32, under plain FP16 and BF16 autocast, and under
the policy that is measured on those batches; its error is the mean distance of the last quarter's losses from those in
float32, over the latter. Times are medians of rounds in which the variants take turns, each the median of its steps;
FP16 scales its loss from 65536 on. `tacotron2_pointing` has an attention as sharp as a trained one, whose gradients
leave FP16. No dropout, for it draws otherwise in each format. Targets: the policy at most 3% slower than plain
autocast, and a smaller error wherever it differs from it. Without a GPU the sizes are tiny and nothing is kept.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn import functional

from benchmarks.keep import Row, figure, record, table
from modelwright.train import build, describe
from services.train_svc.engine.on_torch.precision import (
    apply_policy,
    autocast_of,
    lift_policy,
    measure_sensitivity,
    set_float32_products,
)
from services.train_svc.engine.precision import Base, Policy

Batch = dict[str, torch.Tensor]
Loss = Callable[[nn.Module, Batch], torch.Tensor]
ATTENTION = "decoder.aligned.body.looked.look.attention"
STEPS, WARMUP, BATCHES, RATE = 5, 3, 4, 1e-3
SHARP = 20.0
STILL = {"dropout": 0.0, "rnn_dropout": 0.0, "prenet_dropout": 0.0}
TINY_TACOTRON = {"d_model": 32, "num_layers": 1, "prenet_dim": 16, "rnn_dim": 32, "attention_dim": 16,
                 "postnet_layers": 2, "postnet_dim": 16}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model with its batches."""

    name: str
    make: Callable[[bool], nn.Module]
    """The model; tiny, or of its real size."""
    draw: Callable[[bool], Batch]
    """One batch on the host."""
    loss: Loss


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A format to train in."""

    base: Base | Literal["fp32"]
    policy: Policy | None = None
    """None: torch's autocast alone."""

    @property
    def fp32_operators(self) -> int:
        """Operators that the policy takes out of the base."""
        return sum(each.precision == "fp32" for each in self.policy.operators) if self.policy else 0


def tacotron(*, tiny: bool, sharp: float = 1.0) -> nn.Module:
    """Return a Tacotron 2 with dynamic convolution attention."""
    options: dict[str, Any] = {**STILL, "attention": "dynamic_convolution", **(TINY_TACOTRON if tiny else {})}
    model = build(describe("tacotron2", **options))
    with torch.no_grad():
        model.get_parameter(f"{ATTENTION}.score.weight").mul_(sharp)
    return cast("nn.Module", model)


def speech(tiny: bool) -> Batch:
    """Return text and its frames."""
    batch, symbols, frames = (4, 24, 40) if tiny else (32, 100, 200)
    return {"tokens": torch.randint(0, 148, (batch, symbols)), "frames": torch.randn(batch, frames, 80)}


def mel_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the distance from the frames."""
    made = model(**batch)
    return torch.stack(
        [(made[name].float() - batch["frames"]).square().mean() for name in ("mel", "mel_postnet")]
    ).sum()


def bert(tiny: bool) -> nn.Module:
    """Return a BERT that tells masked words."""
    sizes: dict[str, Any] = {"num_layers": 2, "d_model": 32, "attention_heads": 2, "feed_forward": 64} if tiny else {}
    return cast("nn.Module", build(describe("bert", head="pretraining", dropout=0.0, **sizes)))


def text(tiny: bool) -> Batch:
    """Return token ids."""
    return {"tokens": torch.randint(0, 30522, (2, 16) if tiny else (32, 128))}


def conformer(tiny: bool) -> nn.Module:
    """Return a Conformer transducer."""
    encoder = {"num_layers": 2, "d_model": 32} if tiny else {}
    return cast("nn.Module", build(describe("conformer", encoder=encoder, dropout=0.0)))


def utterances(tiny: bool) -> Batch:
    """Return features and tokens."""
    batch, frames, tokens = (2, 64, 4) if tiny else (16, 400, 20)
    return {"features": torch.randn(batch, frames, 80), "targets": torch.randint(1, 1000, (batch, tokens))}


def word_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the cross-entropy of every output at every place, against labels that the first input's places repeat."""
    made = model(**batch)
    outputs = made.values() if isinstance(made, Mapping) else [made]
    losses = []
    for output in outputs:
        scores = output.float().flatten(0, -2)
        labels = torch.arange(scores.shape[0], device=scores.device) % min(scores.shape[1], 50)
        losses.append(functional.cross_entropy(scores, labels))
    return torch.stack(losses).mean()


CASES = (
    Case(name="tacotron2", make=lambda tiny: tacotron(tiny=tiny), draw=speech, loss=mel_loss),
    Case(name="tacotron2_pointing", make=lambda tiny: tacotron(tiny=tiny, sharp=SHARP), draw=speech, loss=mel_loss),
    Case(name="bert", make=bert, draw=text, loss=word_loss),
    Case(name="conformer", make=conformer, draw=utterances, loss=word_loss),
)


def main() -> None:
    """Measure and print the table; keep it where there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    set_float32_products("fp32")
    # oneDNN has no FP16 LSTM for processors without FP16 units, and torch asks it for one.
    torch.backends.mkldnn.enabled = device != "cpu"  # type: ignore[assignment]  # torch's module is one of properties
    rows: list[Row] = []
    for case in CASES:
        if case.name in options.cases:
            rows += measured(case, device, options.steps, options.rounds)
            if device == "cuda":
                record("precision_policy", rows, figures(rows))
    if device == "cpu":
        print(table(rows), table(figures(rows)), sep="\n\n")


def figures(rows: list[Row]) -> list[Row]:
    """Return each policy beside plain autocast in the same format."""
    found = []
    for row in (row for row in rows if row["variant"].startswith("measured")):
        base = row["variant"].removeprefix("measured ")
        plain = next(other for other in rows if (other["case"], other["variant"]) == (row["case"], f"plain {base}"))
        what, peer = f"{row['case']}, {base}, {row['fp32_operators']} operators in fp32", f"{plain['ms']} ms"
        found.append(figure(f"{what}: time over plain autocast's", row["ms"] / plain["ms"], "x", under=1.03, peer=peer))
        # Where none differs both are one program.
        if row["fp32_operators"]:
            bound = float(plain["error"])
            found.append(figure(f"{what}: error", float(row["error"]), "of the loss", under=bound, peer=plain["error"]))
    return found


def measured(case: Case, device: str, steps: int, rounds: int) -> list[Row]:
    """Return time and error of every variant of a case."""
    torch.manual_seed(0)
    model = case.make(device == "cpu").to(device).train()
    drawn = (case.draw(device == "cpu") for _ in range(BATCHES))
    batches = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in drawn]
    bench = Bench(case, model, batches)
    variants = dict(bench.variants())
    curves = {name: bench.trained(variant, steps) for name, variant in variants.items()}
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        # Every second round the other way round: whoever follows another finds the card as that one left it.
        for name in list(variants)[:: 1 if number % 2 else -1]:
            times[name].append(bench.timed(variants[name]))
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return [
        {
            "case": case.name,
            "variant": name,
            "ms": round(statistics.median(times[name]), 3),
            "least": round(min(times[name]), 3),
            "most": round(max(times[name]), 3),
            "final_loss": curves[name][-1],
            "error": f"{distance(curves[name], curves['fp32']):.2e}",
            "fp32_operators": variant.fp32_operators,
            "card": card,
            "torch": torch.__version__,
        }
        for name, variant in variants.items()
    ]


class Bench:
    """One model, trained again and again from the same weights on the same batches."""

    def __init__(self, case: Case, model: nn.Module, batches: list[Batch]) -> None:
        self._case, self._model, self._batches = case, model, batches
        self._weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self._device = next(model.parameters()).device

    def variants(self) -> Iterator[tuple[str, Variant]]:
        """Yield the formats, each with what is measured in it."""
        yield "fp32", Variant(base="fp32")
        bases: tuple[Base, ...] = ("fp16", "bf16")
        for base in bases:
            steps = [lambda batch=batch: self._case.loss(self._model, batch) for batch in self._batches[:2]]
            yield f"plain {base}", Variant(base=base)
            yield f"measured {base}", Variant(base=base, policy=measure_sensitivity(self._model, steps, base=base))

    def trained(self, variant: Variant, steps: int) -> list[float]:
        """Return the losses of a training."""
        step = self._prepared(variant)
        return [step(self._batches[number % BATCHES]).item() for number in range(steps)]

    def timed(self, variant: Variant) -> float:
        """Return the median milliseconds of some steps."""
        step, found = self._prepared(variant), []
        for number in range(WARMUP + STEPS):
            wait()
            start = time.perf_counter()
            step(self._batches[0])
            wait()
            if number >= WARMUP:
                found.append((time.perf_counter() - start) * 1e3)
        return statistics.median(found)

    def _prepared(self, variant: Variant) -> Callable[[Batch], torch.Tensor]:
        lift_policy(self._model)
        self._model.load_state_dict(self._weights)
        if variant.policy is not None:
            apply_policy(self._model, variant.policy)
        optimizer = torch.optim.AdamW(self._model.parameters(), lr=RATE, fused=self._device.type == "cuda")
        scaler = torch.amp.GradScaler(self._device.type, enabled=variant.base == "fp16")

        def step(batch: Batch) -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            with autocast_of(variant.base, self._device):
                loss = self._case.loss(self._model, batch)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            return loss.detach()

        return step


def distance(curve: list[float], exact: list[float]) -> float:
    """Return the mean distance of the last quarter from the exact one's, over the latter's mean size."""
    last = max(len(exact) // 4, 1)
    wrong = [abs(one - other) for one, other in zip(curve[-last:], exact[-last:], strict=True)]
    return sum(wrong) / sum(abs(each) for each in exact[-last:])


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

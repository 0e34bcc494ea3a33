"""Recomputed units: the same gradients to the last bit, no effect twice, and less memory."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.combine import Repeat
from services.train_svc.engine.architecture.blocks.elementwise import Tanh
from services.train_svc.engine.architecture.blocks.gates import GradientResetGate
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.building import build
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.gates import Gate
from services.train_svc.engine.on_torch.memory.meter import PeakMeter
from services.train_svc.engine.on_torch.memory.recompute import adopt, changes, copied, is_recomputed, lift, recompute
from services.train_svc.engine.on_torch.memory.units import repeated_blocks, units_of
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import loss_of, on_torch

SMALL = {"num_layers": 2, "d_model": 16, "attention_heads": 2}
BERT = {**SMALL, "vocab_size": 50, "feed_forward": 32, "head": "masked_lm"}
CONFORMER = {"encoder": {**SMALL, "kernel_size": 5}, "decoder": {"type": "ctc", "vocab_size": 9}}
TACOTRON2 = {
    "d_model": 16, "prenet_dim": 8, "rnn_dim": 12, "attention_dim": 6, "postnet_dim": 10, "features": 6,
}  # fmt: skip
MOE = {**SMALL, "kv_heads": 1, "vocab_size": 50, "feed_forward": 8, "experts": 4, "router_logits": True}
MODELS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    # Batch norms, padding by lengths.
    "conformer": (CONFORMER, {"time": 40}),
    # Padding by a mask that all layers share.
    "bert": (BERT, {"time": 9}),
    "resnet_small": ({"width": 8}, {}),
    # Units that keep values under names, and loops.
    "tacotron2": (TACOTRON2, {"symbols": 7, "time": 5}),
    # A bias that one layer makes and all read.
    "t5": ({**SMALL, "vocab_size": 50, "feed_forward": 32, "head_dim": 8}, {}),
    # Every layer adds its router's scores to those of the others.
    "moe_decoder": (MOE, {"time": 9}),
}


def built(name: str, **options: Any) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    own, sizes = MODELS[name]
    description = describe(name, **{**own, **options})
    inputs = sample_inputs(description, sizes={**dict.fromkeys(description.typical, 8), **sizes})
    return build(description).train(), on_torch(inputs)


def blocks(width: int = 6) -> nn.Sequential:
    """Return a user's own model: blocks with dropout, running means, and a buffer that decides what comes out."""

    def block() -> nn.Module:
        linear = nn.utils.parametrizations.spectral_norm(nn.Linear(width, width))
        return nn.Sequential(linear, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, width))

    return nn.Sequential(block(), block(), nn.Linear(width, 2))


def run(model: nn.Module, inputs: dict[str, torch.Tensor], steps: int = 2) -> list[dict[str, torch.Tensor]]:
    """Return gradients and buffers after each of some steps."""
    found = []
    for step in range(steps):
        torch.manual_seed(step)
        model.zero_grad()
        outputs = model(**inputs) if hasattr(model, "description") else model(*inputs.values())
        loss_of(outputs, lambda x: x.square().mean()).backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append({**gradients, **{name: buffer.clone() for name, buffer in model.named_buffers()}})
    return found


def check_equal(got: list[dict[str, torch.Tensor]], wanted: list[dict[str, torch.Tensor]]) -> None:
    for step, (mine, other) in enumerate(zip(got, wanted, strict=True)):
        assert mine.keys() == other.keys()
        for name, tensor in other.items():
            assert torch.equal(mine[name], tensor), f"{name} after step {step}"


def check_same(model: nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    again = copy.deepcopy(model)
    names = units_of(again)
    assert len(names) > 1
    recompute(again, names)
    assert sum(is_recomputed(module) for module in again.modules()) == len(names)
    check_equal(run(again, inputs), run(model, inputs))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_buffers_are_the_same_to_the_last_bit(name: str) -> None:
    check_same(*built(name))


def test_a_users_own_module_is_recomputed_the_same_though_its_buffers_change() -> None:
    torch.manual_seed(0)
    check_same(blocks().train(), {"x": torch.randn(5, 6)})


def test_under_autocast_it_is_the_same_too() -> None:
    model, inputs = built("bert")
    with torch.autocast("cpu", torch.bfloat16):
        check_same(model, inputs)


def test_a_gate_sees_each_gradient_once() -> None:
    body = (Linear(name="linear", out_features=5), Tanh(), GradientResetGate(name="gate", warmup=2))
    description = Description(name="gated", input_shape=(5,), body=(Repeat(name="layers", times=3, body=body),))
    torch.manual_seed(0)
    model = build(description).train()
    again = copy.deepcopy(model)
    recompute(again, units_of(again))
    inputs = {"input": torch.randn(4, 5)}
    check_equal(run(again, inputs, steps=1), run(model, inputs, steps=1))
    for mine, other in zip(again.modules(), model.modules(), strict=True):
        if isinstance(other, Gate) and isinstance(mine, Gate):
            assert mine.settle() == other.settle()
            assert torch.equal(mine.mean, other.mean)


def test_a_copy_of_a_recomputed_model_computes_with_its_own_weights() -> None:
    model, inputs = built("bert", dropout=0.0)
    recompute(model, units_of(model))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.manual_seed(0)
    fresh, _ = built("bert", dropout=0.0)
    check_equal(run(twin, inputs, steps=1), run(fresh, inputs, steps=1))


def test_it_is_lifted_without_a_trace() -> None:
    model, inputs = built("resnet_small")
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    names = list(model.state_dict())
    recompute(model, units_of(model))
    recompute(model, units_of(model))
    assert list(model.state_dict()) == names
    run(model, inputs, steps=1)
    lift(model)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before


def test_in_evaluation_nothing_is_recomputed() -> None:
    model, inputs = built("bert")
    wanted = model.eval()(**inputs)
    recompute(model, units_of(model))
    assert torch.equal(model(**inputs), wanted)


def test_it_saves_memory() -> None:
    model, _ = built("bert", num_layers=8, head="none")
    inputs = {"tokens": torch.zeros(16, 64, dtype=torch.int64)}
    peaks = []
    for names in ([], units_of(model)[::2], units_of(model)):
        lift(model)
        recompute(model, names)
        with PeakMeter(torch.device("cpu")) as meter:
            run(model, inputs, steps=1)
        peaks.append(meter.peak_bytes)
    assert peaks[1] < 0.75 * peaks[0]
    assert peaks[2] < 0.75 * peaks[1]


@pytest.mark.parametrize("name", ["bert", "resnet_small", "moe_decoder"])
def test_it_compiles_without_a_break_to_the_same(name: str) -> None:
    model, inputs = built(name, **({} if name == "resnet_small" else {"dropout": 0.0}))
    again = copy.deepcopy(model)
    recompute(again, units_of(again))
    found = []
    for each in (model, again):
        torch.compiler.reset()
        compiled: Any = torch.compile(each, fullgraph=True, backend="aot_eager")
        loss_of(compiled(**inputs), lambda x: x.square().mean()).backward()
        gradients = {key: p.grad for key, p in each.named_parameters() if p.grad is not None}
        found.append([{**gradients, **dict(each.named_buffers())}])
    check_equal(found[1], found[0])


def test_a_context_is_copied_whole() -> None:
    context = Context({"x": 1}, {"s": 2}, training=True)
    context.keep("y", 3)
    context.new_state["n"], context.memo["m"] = 4, 5
    context.lengths, context.mask, context.chunk = 6, 7, (8, 9)
    other = copied(context)
    assert vars(other) == vars(context)
    other.keep("z", 1)
    other.new_state["o"] = other.memo["p"] = 2
    assert vars(other) != vars(context)
    assert "z" not in context.values
    other.lengths = None
    adopt(context, changes(copied(context), other))
    assert vars(context) == vars(other)


def test_the_units_of_a_users_module_are_the_blocks_that_it_repeats() -> None:
    def layer() -> nn.TransformerEncoderLayer:
        return nn.TransformerEncoderLayer(8, 2, 16)

    encoder = nn.ModuleDict({"embed": nn.Embedding(9, 8), "encoder": nn.TransformerEncoder(layer(), 3)})
    assert repeated_blocks(encoder) == [f"encoder.layers.{index}" for index in range(3)]
    stages = nn.Sequential(*(nn.Sequential(*(layer() for _ in range(2))) for _ in range(2)))
    assert repeated_blocks(stages) == ["0.0", "0.1", "1.0", "1.1"]
    assert repeated_blocks(blocks()) == ["0", "1"]
    assert repeated_blocks(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == []

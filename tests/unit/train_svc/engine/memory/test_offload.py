"""What waits in the host's memory: the same numbers, less of the device's memory."""

from typing import Any

import pytest
import torch
from torch import nn

from services.train_svc.engine.building import build
from services.train_svc.engine.memory import Measures
from services.train_svc.engine.on_torch.memory import HostMoments, PeakMeter, activations_on_host, apply_measures
from services.train_svc.engine.on_torch.memory.applying import ladder_of, lift_measures, saving
from services.train_svc.engine.on_torch.memory.recompute import is_recomputed
from services.train_svc.engine.templates import describe

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


def model_of(device: str, width: int = 256) -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(0.1)) for _ in range(4))
    return nn.Sequential(*layers).to(device)


def stepped(model: nn.Module, optimizer: Any, moments: HostMoments | None, steps: int = 3) -> list[torch.Tensor]:
    device = next(model.parameters()).device
    for step in range(steps):
        torch.manual_seed(step)
        model(torch.randn(8, 256, device=device)).square().mean().backward()
        if moments:
            moments.step(optimizer.step)
        else:
            optimizer.step()
        optimizer.zero_grad()
    if moments:
        moments.settle()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_steps_with_moments_on_the_host_are_the_same(device: str, kind: Any) -> None:
    how = {"lr": 0.1, "momentum": 0.9} if kind is torch.optim.SGD else {"lr": 0.1}
    models = [model_of(device), model_of(device)]
    optimizers = [
        kind([{"params": [p for p in model.parameters() if p.ndim > 1]},
              {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0}], **how)
        for model in models
    ]  # fmt: skip
    for model, optimizer in zip(models, optimizers, strict=True):
        stepped(model, optimizer, None, steps=1)
    moments = HostMoments(optimizers[0], portion_bytes=3 * 2**18)
    for mine, other in zip(
        stepped(models[0], optimizers[0], moments), stepped(models[1], optimizers[1], None), strict=True
    ):
        assert torch.equal(mine, other)
    assert [len(group["params"]) for group in optimizers[0].param_groups] == [4, 4]
    for mine, other in zip(optimizers[0].state.values(), optimizers[1].state.values(), strict=True):
        for slot, value in other.items():
            large = isinstance(value, torch.Tensor) and value.nbytes >= 4096
            assert torch.equal(mine[slot].cpu(), value.cpu())
            assert mine[slot].device.type == ("cpu" if large else value.device.type)


def test_a_step_that_fails_leaves_the_optimizer_whole() -> None:
    model = model_of("cpu")
    optimizer = torch.optim.AdamW(model.parameters())

    def broken() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        HostMoments(optimizer).step(broken)
    assert [len(group["params"]) for group in optimizer.param_groups] == [8]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_offloaded_activations_are_the_same(device: str, compiled: bool) -> None:
    model = model_of(device)
    backend = "aot_eager" if device == "cpu" else "inductor"
    call: Any = torch.compile(model, backend=backend) if compiled else model
    found = []
    for moved in (False, True):
        model.zero_grad()
        torch.manual_seed(1)
        x = torch.randn(64, 256, device=device)
        if moved:
            with activations_on_host(model, least_bytes=1):
                loss = call(x).square().mean()
        else:
            loss = call(x).square().mean()
        loss.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for mine, other in zip(*found, strict=True):
        assert mine is not None
        assert other is not None
        assert torch.equal(mine, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_offloading_saves_the_memory_of_a_gpu() -> None:
    device = torch.device("cuda")
    model = model_of("cuda", 1024)
    peaks = {}
    for measures in (Measures(), Measures(offload_activations=True)):
        model.zero_grad()
        with PeakMeter(device) as meter:
            with saving(model, measures):
                loss = model(torch.randn(8192, 1024, device=device)).square().mean()
            loss.backward()
        peaks[measures.offload_activations] = meter.peak_bytes
        assert meter.reserved_bytes >= meter.peak_bytes
    assert peaks[True] < 0.75 * peaks[False]


def test_measures_are_applied_in_place_of_those_before_and_lifted() -> None:
    options: dict[str, Any] = {
        "vocab_size": 50,
        "num_layers": 4,
        "d_model": 16,
        "attention_heads": 2,
        "feed_forward": 32,
    }
    model = build(describe("bert", head="masked_lm", **options)).train()
    tokens = torch.zeros(1, 5, dtype=torch.int64)

    def recomputed() -> list[str]:
        return [name for name, module in model.named_modules() if is_recomputed(module)]

    head = apply_measures(model, Measures(recompute=0.5, chunked_head=True))
    assert head is not None
    assert head.weight is model.get_parameter("encoder.tokens.weight")
    assert recomputed() == ["encoder.layers.1", "encoder.layers.3"]
    assert model(tokens=tokens).shape[-1] == 16
    assert apply_measures(model, Measures(recompute=0.25)) is None
    assert recomputed() == ["encoder.layers.3"]
    assert model(tokens=tokens).shape[-1] == 50
    lift_measures(model)
    assert recomputed() == []


def test_the_ladder_of_a_model_is_what_it_can_take() -> None:
    picture = build(describe("resnet_small"))
    rungs = {rung.field: rung for rung in ladder_of(picture, batch=8, head=True)}
    assert set(rungs) == {"chunked_head", "pieces", "recompute"}
    assert not rungs["pieces"].exact
    assert rungs["pieces"].levels == (2, 4, 8)
    own = ladder_of(nn.Linear(2, 2), batch=8, head=True)
    assert [(rung.field, rung.exact) for rung in own] == [("pieces", True)]

"""What the sensitivity pass finds, and what training under it gives."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from services.common.errors import InvalidError
from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.precision import apply_policy, autocast_of, lift_policy, measure_sensitivity
from services.train_svc.engine.precision import Limits, Policy
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.precision.tacotron import ATTENTION, pointing_tacotron

Step = Callable[[], torch.Tensor]


@pytest.fixture(autouse=True)
def _plain_kernels() -> Iterator[None]:
    # oneDNN has no fp16 LSTM for processors without fp16 units, and torch asks it for one where the input is float32.
    with torch.backends.mkldnn.flags(enabled=False):
        yield


class Energies(nn.Module):
    """Inner products of large activations: some lie beyond float16's 65504."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [batch, frames, frames] of [batch, frames, features]."""
        return (x * 40) @ (x * 40).transpose(1, 2) / 1600


class Planted(nn.Module):
    """Two layers, the planted overflow, and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(8, 64)
        self.norm = nn.LayerNorm(64)
        self.energies = Energies()
        self.leave = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [batch, 3] of [batch, 6, 8]."""
        mixed = self.energies(self.norm(functional.relu(self.enter(x))))
        scores: torch.Tensor = self.leave(mixed / 64).mean(1)
        return scores


def planted() -> tuple[nn.Module, Step]:
    torch.manual_seed(0)
    model, x, labels = Planted(), torch.randn(16, 6, 8), torch.arange(16) % 3
    return model, lambda: functional.cross_entropy(model(x).float(), labels)


def digits() -> tuple[nn.Module, Step]:
    torch.manual_seed(0)
    model, x = build(describe("resnet_small")), torch.randn(16, 1, 8, 8)
    return model, lambda: functional.cross_entropy(model(x).float(), torch.arange(16) % 10)


def sensitive(policy: Policy) -> list[str]:
    return [each.name for each in policy.operators if each.precision == "fp32"]


def compare(model: nn.Module, step: Step, policy: Policy, *, steps: int, rate: float) -> dict[str, list[float]]:
    """Returns the losses in float32, under plain autocast, and under the policy, from the same weights."""
    weights, curves = {name: tensor.clone() for name, tensor in model.state_dict().items()}, {}
    for name, base in (("exact", "fp32"), ("plain", policy.base), ("measured", policy.base)):
        model.load_state_dict(weights)
        lift_policy(model)
        if name == "measured":
            apply_policy(model, policy)
        curves[name] = train(model, step, base, steps=steps, rate=rate, scale=policy.loss_scale)
    return curves


def train(model: nn.Module, step: Step, base: str, *, steps: int, rate: float, scale: float) -> list[float]:
    """Returns the losses of a few clipped steps of SGD; in fp16 with dynamic loss scaling."""
    scale, losses = scale if base == "fp16" else 1.0, []
    for _ in range(steps):
        with autocast_of(base, "cpu"):
            loss = step()
        losses.append(loss.item())
        model.zero_grad()
        torch.autograd.backward(loss * scale)
        gradients = {each: each.grad / scale for each in model.parameters() if each.grad is not None}
        norm = torch.stack([each.norm() for each in gradients.values()]).norm()
        if not norm.isfinite():
            scale /= 2
            continue
        with torch.no_grad():
            for parameter, gradient in gradients.items():
                parameter.sub_(rate * gradient / norm.clamp(min=1.0))
    return losses


@pytest.mark.parametrize("base", ["fp16", "bf16"])
def test_a_healthy_model_stays_in_the_base_precision(base: str) -> None:
    model, step = digits()
    policy = measure_sensitivity(model, step, base=base)  # type: ignore[arg-type]  # a parameter
    assert sensitive(policy) == []
    kinds = [each.kind for each in policy.operators]
    assert {"Conv2d", "BatchNorm2d", "Linear"} <= set(kinds)
    assert policy.plain == policy.measured
    assert policy.measured is not None
    assert policy.measured.gradient is not None
    assert policy.measured.gradient < 0.2


def test_errors_of_a_layer_are_those_of_rounded_operands_whatever_ran_before_it() -> None:
    torch.manual_seed(0)
    first, last, x = nn.Linear(12, 7), nn.Linear(7, 5), torch.randn(9, 12)
    model = nn.Sequential(first, nn.Tanh(), last)
    policy = measure_sensitivity(model, lambda: model(x).float().square().mean(), base="fp16")
    found = {each.name: each for each in policy.operators}
    hidden = np.tanh(short((short(x) @ short(first.weight.T)) + short(first.bias)))
    weight, bias = (each.detach().numpy() for each in last.parameters())
    exact = short(hidden) @ weight.T + bias
    rounded = short(short(hidden) @ short(weight.T) + short(bias))
    wanted = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert found["2"].forward_error == pytest.approx(wanted, rel=0.2)
    assert found["1"].forward_error < 2**-11


def short(x: torch.Tensor | np.ndarray) -> np.ndarray:
    return np.asarray(x.detach() if isinstance(x, torch.Tensor) else x).astype(np.float16).astype(np.float32)


def test_a_planted_overflow_is_found_and_training_under_the_policy_follows_float32() -> None:
    model, step = planted()
    policy = measure_sensitivity(model, step, base="fp16")
    assert sensitive(policy) == ["energies"]
    found = next(each for each in policy.operators if each.name == "energies")
    assert found.overflow > 0
    assert "overflow" in found.reason
    curves = compare(model, step, policy, steps=20, rate=0.5)
    assert not np.isfinite(curves["plain"]).any()
    assert curves["exact"][-1] < 0.9 * curves["exact"][0]
    np.testing.assert_allclose(curves["measured"], curves["exact"], rtol=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tacotrons_attention_is_what_leaves_float16(seed: int) -> None:
    policy = measure_sensitivity(*pointing_tacotron(seed=seed), base="fp16")
    assert sensitive(policy) == [ATTENTION]
    assert "overflow" in next(each.reason for each in policy.operators if each.name == ATTENTION)


def test_tacotron_trains_as_in_float32_under_the_policy_and_makes_no_step_under_plain_autocast() -> None:
    model, step = pointing_tacotron()
    policy = measure_sensitivity(model, step, base="fp16")
    curves = compare(model, step, policy, steps=10, rate=0.05)
    assert len(set(curves["plain"])) == 1
    assert curves["exact"][-1] < 0.9 * curves["exact"][0]
    assert curves["measured"][-1] == pytest.approx(curves["exact"][-1], rel=0.03)


def test_rounding_that_a_softmax_enlarges_is_laid_to_what_makes_its_energies() -> None:
    torch.manual_seed(0)
    energies, x = nn.Linear(8, 8), torch.randn(32, 8)
    model = nn.Sequential(energies, nn.Softmax(-1))
    with torch.no_grad():
        # Float16 knows halves there, and a softmax tells energies apart by less.
        energies.bias.fill_(700)
    labels = torch.arange(32) % 8
    policy = measure_sensitivity(
        model, lambda: functional.nll_loss(model(x).float().clamp(min=1e-9).log(), labels), base="fp16"
    )
    found = {each.name: each for each in policy.operators}
    assert found["0"].precision == "fp32"
    assert found["0"].onward_error > 10 * found["0"].forward_error
    assert "in what takes it" in found["0"].reason


def test_a_gradient_too_small_for_the_format_is_seen_at_the_loss_scale_in_use() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(16, 8)
    faint = {scale: measure_sensitivity(model, lambda: model(x).float().mean() * 1e-6, base="fp16",
                                        limits=Limits(loss_scale=scale)) for scale in (1.0, 65536.0)}  # fmt: skip
    first = {scale: next(each for each in policy.operators if each.name == "0") for scale, policy in faint.items()}
    assert first[1.0].underflow > 0.1
    assert first[65536.0].underflow == 0


def test_measuring_leaves_weights_buffers_and_chance_as_they_were() -> None:
    model, step = digits()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chance = torch.get_rng_state()
    measure_sensitivity(model, [step, step], base="bf16")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_that_is_not_finite_in_float32_and_one_that_is_frozen_are_refused() -> None:
    model, step = planted()
    with pytest.raises(InvalidError, match="not finite in float32 already"):
        measure_sensitivity(model, lambda: step() * float("inf"), base="bf16")
    model.requires_grad_(False)
    with pytest.raises(InvalidError, match="is the model frozen"):
        measure_sensitivity(model, step, base="bf16")

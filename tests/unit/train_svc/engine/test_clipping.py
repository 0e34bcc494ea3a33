"""Clipping against loops in NumPy, with planted spikes, and both engines against one another."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedLinear
from services.train_svc.engine.architecture.blocks.reshape import Flatten
from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.clipping import build_clipper
from services.train_svc.engine.spec import ClipSpec
from tests.unit.train_svc.engine.parity import close, pair

SPIKE = 20
NORMS = np.random.default_rng(0).uniform(1, 2, 40)
NORMS[SPIKE] = 1000.0
DESCRIPTION = Description(
    name="small",
    input_shape=(3, 4, 4),
    body=(
        Conv2d(name="kernels", out_channels=5, kernel_size=3),
        Conv2d(name="depthwise", out_channels=5, kernel_size=3, groups=5),
        Flatten(name="flat"),
        Linear(name="hidden", out_features=6),
        Linear(name="head", out_features=7),
    ),
)
RULES = [
    ClipSpec(name="norm", max_norm=1.5),
    ClipSpec(name="autoclip", percentile=30, history=7),
    ClipSpec(name="zclip", warmup=5),
    ClipSpec(name="agc", ratio=0.05),
]


def give(model: nn.Module, norm: float, step: int = 0) -> None:
    """Give the parameters random gradients whose common norm is `norm`."""
    generator = np.random.default_rng(step)
    raw = {name: generator.standard_normal(tuple(p.shape)) for name, p in model.named_parameters()}
    whole = math.sqrt(sum((array**2).sum() for array in raw.values()))
    for name, parameter in model.named_parameters():
        parameter.grad = torch.from_numpy((raw[name] * norm / whole).astype(np.float32))


def norm_of(model: nn.Module) -> float:
    return math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None))


def after(spec: ClipSpec, norms: Any) -> list[float]:
    """Return the norms after clipping."""
    model: Any = nn.Linear(4, 3)
    clipper, found = build_clipper(spec, model), list[float]()
    for step, norm in enumerate(norms):
        give(model, norm, step)
        direction = model.weight.grad / norm
        before = clipper.clip(model.parameters())
        assert float(before) == pytest.approx(norm, rel=1e-5)
        found.append(norm_of(model))
        close(model.weight.grad / found[-1], direction, "direction", 1e-5)
    return found


def test_no_clipping_measures_and_changes_nothing() -> None:
    assert after(ClipSpec(), NORMS) == pytest.approx(NORMS, rel=1e-5)


def test_norm_is_that_of_torch() -> None:
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    for norm in (0.3, 1.4, 80.0):
        give(model, norm)
        give(other, norm)
        build_clipper(ClipSpec(name="norm", max_norm=1.5), model).clip(model.parameters())
        nn.utils.clip_grad_norm_(other.parameters(), 1.5)
        close(model.weight.grad, other.weight.grad, "gradient", 1e-5)


@pytest.mark.parametrize("percentile", [10.0, 50.0, 90.0, 100.0])
@pytest.mark.parametrize("history", [1, 7, 1000])
def test_autoclip_clips_to_the_percentile_of_the_last_norms(percentile: float, history: int) -> None:
    wanted = []
    for step, norm in enumerate(NORMS):
        known = NORMS[max(0, step + 1 - history) : step + 1]
        wanted.append(min(norm, np.percentile(known, percentile)))
    found = after(ClipSpec(name="autoclip", percentile=percentile, history=history), NORMS)
    assert found == pytest.approx(wanted, rel=1e-4)
    if percentile < 100 and history > 1:
        assert found[SPIKE] < 0.9 * NORMS[SPIKE]


def zclip(norms: Any, spec: ClipSpec) -> list[float]:
    found: list[float] = []
    mean = variance = 0.0
    for step, norm in enumerate(norms):
        kept = norm
        if step >= spec.warmup:
            z = (norm - mean) / math.sqrt(variance)
            if z > spec.z_score:
                kept = mean + spec.z_score**2 / z * math.sqrt(variance)
            mean = spec.alpha * mean + (1 - spec.alpha) * kept
            variance = spec.alpha * variance + (1 - spec.alpha) * (kept - mean) ** 2
        elif step == spec.warmup - 1:
            mean, variance = np.mean(norms[: step + 1]), np.var(norms[: step + 1])
        found.append(kept)
    return found


@pytest.mark.parametrize("settings", [{}, {"warmup": 5, "z_score": 1.0, "alpha": 0.8}])
def test_zclip_clips_a_spike_the_lower_the_further_it_leapt(settings: dict[str, Any]) -> None:
    spec = ClipSpec(name="zclip", **({"warmup": 10} | settings))
    found = after(spec, NORMS)
    assert found == pytest.approx(zclip(NORMS, spec), rel=1e-4)
    assert 1 < found[SPIKE] < 2
    lower = NORMS.copy()
    lower[SPIKE] = 10.0
    assert found[SPIKE] < after(spec, lower)[SPIKE] < 2


def test_zclip_without_a_spread_clips_nothing_and_learns_one() -> None:
    found = after(ClipSpec(name="zclip", warmup=1), [1.0, 1.0, 1.0, 2.0, 1000.0])
    assert found[:4] == pytest.approx([1.0, 1.0, 1.0, 2.0])
    assert found[4] < 2


@pytest.mark.parametrize("spec", RULES, ids=lambda spec: spec.name)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_not_remembered_and_spreads_to_no_other(spec: ClipSpec, value: float) -> None:
    model: Any = nn.ModuleDict({"first": nn.Linear(4, 3), "last": nn.Linear(3, 2)})
    clipper = build_clipper(spec, model)
    for step in range(8):
        give(model, NORMS[step], step)
        clipper.clip(model.parameters())
    before = {name: tensor.clone() for name, tensor in clipper.tensors().items()}
    give(model, 1.0)
    model["first"].weight.grad[1, 1] = value
    assert not torch.isfinite(clipper.clip(model.parameters()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in clipper.tensors().items())
    bad = sum(int((~torch.isfinite(parameter.grad)).sum()) for parameter in model.parameters())
    assert bad == 1


def agc(gradient: np.ndarray, weight: np.ndarray, ratio: float) -> np.ndarray:
    result = gradient.copy()
    units = [()] if weight.squeeze().ndim < 2 else range(len(weight))
    for unit in units:
        limit = ratio * max(np.sqrt((weight[unit] ** 2).sum()), 1e-3)
        norm = np.sqrt((gradient[unit] ** 2).sum())
        if norm > limit:
            result[unit] = gradient[unit] * limit / norm
    return result


def test_agc_clips_unit_by_unit_but_not_the_last_linear_layer() -> None:
    torch.manual_seed(0)
    model = build(DESCRIPTION)
    with torch.no_grad():
        model.hidden.bias.fill_(1e-6)
    give(model, 1.0)
    # A spike in one unit alone.
    model.hidden.weight.grad[2] *= 1000
    before = {name: p.grad.double().numpy().copy() for name, p in model.named_parameters()}
    build_clipper(ClipSpec(name="agc", ratio=0.05), model).clip(model.parameters())
    changed = {}
    for name, parameter in model.named_parameters():
        weight = parameter.detach().double().numpy()
        wanted = before[name] if name.startswith("head") else agc(before[name], weight, 0.05)
        close(parameter.grad, wanted, name, 1e-6, floor=1e-3)
        changed[name] = not np.array_equal(wanted, before[name])
    assert changed == {name: not name.startswith("head") for name in changed}
    row = model.hidden.weight.grad[2]
    assert float(row.norm()) == pytest.approx(0.05 * float(model.hidden.weight[2].detach().norm()), rel=1e-5)


def test_agc_leaves_the_matrix_alone_that_the_last_layer_shares() -> None:
    tied = Description(
        name="tied",
        input_shape=(5,),
        body=(
            Embedding(name="tokens", vocab_size=11, features=4),
            Linear(name="hidden", out_features=4),
            TiedLinear(name="scores", of="tokens", bias=True),
        ),
    )
    model = build(tied)
    give(model, 1e6)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    build_clipper(ClipSpec(name="agc"), model).clip(model.parameters())
    free = {name for name, p in model.named_parameters() if torch.equal(p.grad, before[name])}
    assert free == {"tokens.weight", "scores.bias"}


def test_agc_takes_a_users_keras_model_whose_outputs_are_last() -> None:
    import keras
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow import clipping, tensors

    layers = [keras.layers.Conv2D(5, 3), keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    clip = clipping.build_clipper(ClipSpec(name="agc", ratio=0.05), model).clip
    found = [variable for variable, param in tensors.named_variables(model).values() if param.trainable]
    generator = np.random.default_rng(0)
    given = [generator.standard_normal(variable.shape).astype(np.float32) for variable in found]
    clipped, _ = clip([tf.constant(each) for each in given])
    for variable, gradient, result in zip(found, given, clipped, strict=True):
        free = any(variable is each for each in layers[-1].variables)
        # With outputs first the rule is that of the other tests.
        wanted = gradient if free else agc(gradient.T, np.asarray(variable).T, 0.05).T
        close(result, wanted, variable.path, 1e-6)


@pytest.mark.parametrize("spec", RULES, ids=lambda spec: spec.name)
def test_both_engines_clip_alike_and_go_on_from_one_another(spec: ClipSpec, tmp_path: Path) -> None:
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow import clipping, optimizer, tensors
    from services.train_svc.engine.spec import OptimizerSpec

    model, other = pair(DESCRIPTION, tmp_path)
    params = optimizer.build_optimizer(other, OptimizerSpec()).params
    mine, theirs, third = build_clipper(spec, model), clipping.build_clipper(spec, other), build_clipper(spec, model)
    clip = tf.function(theirs.clip)
    for step in range(30):
        give(model, NORMS[step], step)
        given = [tensors.from_canonical(model.get_parameter(name).grad.numpy(), p) for name, p in params.items()]
        found, norm = clip([tf.constant(each) for each in given])
        close(norm, mine.clip(model.parameters()), f"norm {step}", floor=0.0)
        for (name, param), gradient in zip(params.items(), found, strict=True):
            wanted = model.get_parameter(name).grad
            close(tensors.to_canonical(np.asarray(gradient), param), wanted, f"{name} {step}", floor=0.1)
        if step == 15:
            third.fill({name: torch.tensor(array) for name, array in theirs.tensors().items()})
            theirs.fill({name: tensor.numpy() for name, tensor in mine.tensors().items()})
        if step > 15:
            give(model, NORMS[step], step)
            third.clip(model.parameters())
    assert mine.tensors().keys() == theirs.tensors().keys()
    for name, tensor in mine.tensors().items():
        assert theirs.tensors()[name].dtype == tensor.numpy().dtype
        close(theirs.tensors()[name], tensor, name)
        close(third.tensors()[name], tensor, name)


@pytest.mark.parametrize("spec", RULES, ids=lambda spec: spec.name)
def test_no_clipping_reads_a_number_back_from_the_device(spec: ClipSpec) -> None:
    with FakeTensorMode():
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)
        build_clipper(spec, model).clip(model.parameters())


def test_a_history_of_other_settings_is_refused() -> None:
    model = nn.Linear(3, 3)
    clipper = build_clipper(ClipSpec(name="autoclip", history=5), model)
    with pytest.raises(InvalidError, match=r"history \[7\].* wanted .*history \[5\]"):
        clipper.fill(build_clipper(ClipSpec(name="autoclip", history=7), model).tensors())


def test_frozen_parameters_and_none_at_all_have_no_norm() -> None:
    model = nn.Linear(3, 3)
    assert build_clipper(ClipSpec(name="norm"), model).clip(model.parameters()) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("spec", RULES, ids=lambda spec: spec.name)
def test_a_captured_clipping_is_the_same(spec: ClipSpec) -> None:
    model: Any = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3)).cuda()
    mine, captured = build_clipper(spec, model), build_clipper(spec, model)
    given = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for parameter, each in zip(model.parameters(), given, strict=True):
        parameter.grad = each.clone()
    captured.clip(model.parameters())
    captured.fill({})
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for parameter, each in zip(model.parameters(), given, strict=True):
            parameter.grad.copy_(each)
        norm = captured.clip(model.parameters())
    for step in range(30):
        for index, each in enumerate(given):
            each.copy_(torch.from_numpy(np.random.default_rng([step, index]).standard_normal(tuple(each.shape))))
            each.mul_(float(NORMS[step]))
        graph.replay()
        found = [parameter.grad.clone() for parameter in model.parameters()]
        for parameter, each in zip(model.parameters(), given, strict=True):
            parameter.grad.copy_(each)
        assert torch.equal(mine.clip(model.parameters()), norm)
        assert all(torch.equal(p.grad, each) for p, each in zip(model.parameters(), found, strict=True))

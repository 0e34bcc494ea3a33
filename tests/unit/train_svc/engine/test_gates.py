"""The gradient reset gate: an identity forward; backward it lets no spike through, on either engine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.gates import GradientResetGate
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.gates import settle_gates
from services.train_svc.engine.on_torch.optimizer import build_optimizer
from services.train_svc.engine.spec import OptimizerSpec
from tests.unit.train_svc.engine.parity import close, pair

WARMUP = 4
GATED = Description(
    name="gated",
    input_shape=(3,),
    body=(
        Linear(name="before", out_features=5),
        GradientResetGate(name="gate", warmup=WARMUP, z_score=20.0),
        Linear(name="after", out_features=2),
    ),
)
BATCHES = np.random.default_rng(0).standard_normal((12, 4, 3)).astype(np.float32)
SPIKE = 8
"""The step whose loss is a thousand times too large."""


def steps(model: Any, scale: float = 1000.0, compiled: bool = False) -> list[dict[str, torch.Tensor]]:
    """Return the first moments after each step."""
    optimizer = build_optimizer(model, OptimizerSpec(lr=1e-3))
    run = torch.compile(model, fullgraph=True, backend="aot_eager") if compiled else model
    moments = []
    for step, batch in enumerate(BATCHES):
        optimizer.zero_grad()
        (run(torch.from_numpy(batch)).square().mean() * (scale if step == SPIKE else 1)).backward()
        settle_gates(model, optimizer)
        optimizer.step()
        named = {name: p for name, p in model.named_parameters() if p in optimizer.state}
        moments.append({name: optimizer.state[p]["exp_avg"].clone() for name, p in named.items()})
    return moments


@pytest.mark.parametrize("compiled", [False, True])
def test_a_spike_resets_gradient_and_moments_behind_the_gate_alone(compiled: bool) -> None:
    torch.manual_seed(0)
    model = build(GATED)
    moments = steps(model, compiled=compiled)
    assert moments[SPIKE - 1]["before.weight"].abs().max() > 0
    # Adam's first moment after the step is a tenth of the gradient, which was zero, and of nothing before.
    assert not moments[SPIKE]["before.weight"].any()
    assert not moments[SPIKE]["before.bias"].any()
    assert moments[SPIKE]["after.weight"].abs().max() > 10 * moments[SPIKE - 1]["after.weight"].abs().max()
    assert moments[SPIKE + 1]["before.weight"].any()
    gate = model.gate
    assert (gate.resets.item(), gate.count.item()) == (1, len(BATCHES) - 1)


def test_a_gradient_that_is_not_finite_is_reset_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = build(GATED)
    moments = steps(model, scale=float("inf"))
    assert not moments[SPIKE]["before.weight"].any()
    assert all(torch.isfinite(tensor).all() for tensor in (model.gate.mean, model.gate.variance))
    assert torch.isfinite(model.before.weight).all()


def test_without_a_spike_it_changes_nothing() -> None:
    torch.manual_seed(0)
    model = build(GATED)
    free = build(Description(name="free", input_shape=(3,), body=(GATED.body[0], GATED.body[2])))
    free.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("gate")})
    steps(model, scale=1.0)
    steps(free, scale=1.0)
    assert model.gate.resets == 0
    assert torch.equal(model.before.weight, free.before.weight)
    assert torch.equal(model.eval()(torch.ones(1, 3)), free.eval()(torch.ones(1, 3)))


def test_both_engines_gate_alike(tmp_path: Path) -> None:
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow import gates, tensors
    from services.train_svc.engine.on_tensorflow import optimizer as optimizers

    model, other = pair(GATED, tmp_path, spread=0.0)
    steps(model)
    optimizer = optimizers.build_optimizer(other, OptimizerSpec(lr=1e-3))

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(batch: Any, scale: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(other(batch, training=True))) * scale
        found = tape.gradient(loss, optimizer.trained)
        optimizer.apply(gates.settle_gates(other, optimizer, found))

    for index, batch in enumerate(BATCHES):
        step(tf.constant(batch), tf.constant(1000.0 if index == SPIKE else 1.0))
    for name, array in tensors.named_tensors(other).items():
        close(array, model.state_dict()[name], name)


def test_the_running_mean_and_variance_are_those_of_the_norms_seen() -> None:
    torch.manual_seed(0)
    gate = build(GATED).gate
    norms = np.random.default_rng(1).uniform(1, 2, 20).astype(np.float32)
    for norm in norms:
        gate.probe.grad = torch.tensor(norm)
        gate.settle()
    np.testing.assert_allclose((gate.mean, gate.variance), (norms.mean(), norms.var()), rtol=1e-5)

"""The loss scale halves and doubles as torch's does, on both engines, and an overflow changes no weight."""

from typing import Any

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.on_torch.optimizer import apply, build_optimizer, optimizer_tensors
from services.train_svc.engine.on_torch.scaling import LossScale
from services.train_svc.engine.spec import OptimizerSpec, Precision

OVERFLOWS = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
SPEC = Precision("fp16", growth_interval=3)


def by_hand() -> list[float]:
    scale, good, found = 65536.0, 0, []
    for overflow in OVERFLOWS:
        good = 0 if overflow else good + 1
        scale = scale / 2 if overflow else scale * 2 if good == 3 else scale
        good = 0 if good == 3 else good
        found.append(scale)
    return found


def test_the_scale_is_halved_by_an_overflow_and_doubled_after_good_steps() -> None:
    scale, found = LossScale(SPEC), []
    assert float(scale.value) == 65536
    for overflow in OVERFLOWS:
        scale.update(torch.tensor(float(overflow)))
        found.append(float(scale.value))
    assert found == by_hand()


def test_scaled_and_unscaled_gradients_are_those_of_the_loss_itself() -> None:
    weight = torch.tensor([1.0, -3.0], requires_grad=True)
    half = torch.tensor([2.0], dtype=torch.float16, requires_grad=True)
    scale = LossScale(Precision("fp16", loss_scale=1000.0))
    torch.autograd.backward(scale.scale((weight**3).sum() + 0.5 * half.float().sum()))
    assert weight.grad is not None
    assert half.grad is not None
    assert scale.unscale([weight.grad, half.grad]) == 0
    assert weight.grad.tolist() == pytest.approx([3.0, 27.0])
    assert half.grad.tolist() == pytest.approx([0.5], rel=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_found(value: float) -> None:
    gradients = [torch.ones(3), torch.ones(2, 2), torch.ones(4, dtype=torch.float16)]
    scale = LossScale(SPEC)
    assert scale.unscale(gradients) == 0
    for gradient in gradients:
        gradient.view(-1)[-1] = value
        assert scale.unscale(gradients) == 1
        gradient.view(-1)[-1] = 0.0


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "adafactor", "adamw8bit"])
def test_a_step_with_overflow_leaves_all_but_the_scale_as_it_was(name: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 64)
    optimizer, scale = build_optimizer(model, OptimizerSpec(name=name)), LossScale(SPEC)

    def step(size: float) -> None:
        optimizer.zero_grad()
        # In fp16 the gradient of this overflows at a scale of 65536 once `size` is large.
        result = torch.nn.functional.linear(torch.ones(2, 64).half(), model.weight.half(), model.bias.half())
        torch.autograd.backward(scale.scale((result * size).float().mean()))
        found = scale.unscale([p.grad for p in model.parameters() if p.grad is not None])
        apply(optimizer, found)
        scale.update(found)

    def everything() -> dict[str, torch.Tensor]:
        return {k: v.clone() for k, v in (model.state_dict() | optimizer_tensors(model, optimizer)).items()}

    step(1.0)
    before = everything()
    step(1000.0)
    assert float(scale.value) == 32768
    after = everything()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    step(1.0)
    assert not torch.equal(everything()["weight"], before["weight"])


def test_both_engines_scale_alike_and_go_on_from_one_another() -> None:
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow.scaling import LossScale as TensorflowLossScale

    mine, theirs, wanted = LossScale(SPEC), TensorflowLossScale(SPEC), by_hand()

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(gradients: Any) -> Any:
        found, overflow = theirs.unscale(gradients)
        theirs.update(overflow)
        return found, overflow

    for index, overflow in enumerate(OVERFLOWS):
        value = np.array([2.0 * 65536, np.inf if overflow else 1.0], np.float32)
        before = float(theirs.value)
        found, flag = step([tf.constant(value), tf.constant([1.0])])
        gradients = [torch.from_numpy(value.copy()), torch.ones(1)]
        assert float(mine.unscale(gradients)) == float(flag) == overflow
        np.testing.assert_allclose(found[0], value / before)
        mine.update(torch.tensor(float(overflow)))
        assert float(theirs.value) == float(mine.value) == wanted[index]
        if index == 6:
            state = {name: tensor.clone() for name, tensor in mine.tensors().items()}
            mine.fill({name: torch.tensor(array) for name, array in theirs.tensors().items()})
            theirs.fill({name: tensor.numpy() for name, tensor in state.items()})
    assert {k: v.numpy().dtype for k, v in mine.tensors().items()} == {k: v.dtype for k, v in theirs.tensors().items()}


def test_the_scale_never_grows_to_infinity() -> None:
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow.scaling import LossScale as TensorflowLossScale

    spec = Precision("fp16", loss_scale=3e38, growth_interval=1)
    mine, theirs = LossScale(spec), TensorflowLossScale(spec)
    mine.update(torch.zeros(()))
    theirs.update(tf.zeros([]))
    assert float(mine.value) == float(theirs.value) == pytest.approx(3e38)


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidError, match="wanted good_steps"):
        LossScale(SPEC).fill({"value": torch.ones(2)})

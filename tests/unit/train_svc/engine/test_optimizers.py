"""Every optimizer against its paper's rule in NumPy, and both engines against one another."""

import sys
from collections.abc import Callable
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
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import Flatten
from services.train_svc.engine.on_torch.optimizer import (
    apply,
    build_optimizer,
    fill_optimizer,
    optimizer_tensors,
    set_rate,
)
from services.train_svc.engine.spec import OptimizerSpec
from tests.unit.train_svc.engine.parity import close, pair

STEPS = 10
EIGHT_AND_WHOLE: list[Any] = ["adamw8bit", "adamw"]
NAMES: list[Any] = ["adamw", "sgd", "lion", "adafactor"]
RATES = [0.02 * (1 - step / STEPS) for step in range(STEPS)]
DESCRIPTION = Description(
    name="small",
    input_shape=(3, 4, 4),
    body=(
        Conv2d(name="kernels", out_channels=5, kernel_size=3),
        Conv2d(name="depthwise", out_channels=5, kernel_size=3, groups=5),
        Flatten(name="flat"),
        Linear(name="head", out_features=7),
    ),
)
Arrays = dict[str, np.ndarray]


class Model(nn.Module):
    """Parameters alone: a vector, a matrix, a kernel, a scalar."""

    vector: nn.Parameter
    matrix: nn.Parameter
    kernel: nn.Parameter

    def __init__(self, sizes: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = sizes or {"vector": (6,), "matrix": (8, 5), "kernel": (4, 6, 3, 3), "scalar": ()}
        for name, size in sizes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(size)))


def gradients(shapes: dict[str, tuple[int, ...]], step: int, size: float = 1.0) -> Arrays:
    generator = np.random.default_rng(step)
    return {name: (generator.standard_normal(shape) * size).astype(np.float32) for name, shape in shapes.items()}


def give(model: nn.Module, given: Arrays) -> None:
    for name, parameter in model.named_parameters():
        # In the parameter's own order of memory, as autograd does.
        parameter.grad = torch.empty_like(parameter).copy_(torch.from_numpy(np.array(given[name])))


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def run(model: nn.Module, optimizer: torch.optim.Optimizer, first: int = 0, last: int = STEPS) -> None:
    for step in range(first, last):
        set_rate(optimizer, RATES[step])
        give(model, gradients(shapes_of(model), step))
        apply(optimizer)


def adamw(w: Any, g: Any, s: dict[str, Any], *, t: int, rate: float, spec: OptimizerSpec, decay: float) -> Any:
    b1, b2 = spec.betas
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
    step = s["m"] / (1 - b1**t) / (np.sqrt(s["v"] / (1 - b2**t)) + spec.eps)
    return w - rate * (step + decay * w)


def sgd(w: Any, g: Any, s: dict[str, Any], *, t: int, rate: float, spec: OptimizerSpec, decay: float) -> Any:
    g = g + decay * w
    s["m"] = spec.momentum * s.get("m", 0.0) + g
    return w - rate * (g + spec.momentum * s["m"])


def lion(w: Any, g: Any, s: dict[str, Any], *, t: int, rate: float, spec: OptimizerSpec, decay: float) -> Any:
    b1, b2 = spec.betas
    m = s.get("m", np.zeros_like(w))
    s["m"] = b2 * m + (1 - b2) * g
    return w - rate * (np.sign(b1 * m + (1 - b1) * g) + decay * w)


def adafactor(w: Any, g: Any, s: dict[str, Any], *, t: int, rate: float, spec: OptimizerSpec, decay: float) -> Any:
    b = 1 - t**-0.8
    size = max(1e-3, np.sqrt((w * w).mean())) * min(rate, 1 / np.sqrt(t))
    square = g * g + 1e-30
    if w.ndim < 2:
        s["v"] = second = b * s.get("v", 0.0) + (1 - b) * square
    else:
        # Between the first two axes, which are the longest here: sums, as in the paper.
        s["r"] = b * s.get("r", 0.0) + (1 - b) * square.sum(1, keepdims=True)
        s["c"] = b * s.get("c", 0.0) + (1 - b) * square.sum(0, keepdims=True)
        second = s["r"] * s["c"] / s["r"].sum(0, keepdims=True)
    update = g / np.sqrt(second)
    update /= max(1.0, np.sqrt((update**2).mean()))
    return w * (1 - rate * decay) - size * update


RULES: dict[str, Callable[..., Any]] = {"adamw": adamw, "sgd": sgd, "lion": lion, "adafactor": adafactor}


def by_hand(model: nn.Module, spec: OptimizerSpec, steps: int = STEPS, size: float = 1.0) -> Arrays:
    weights = {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}
    states: dict[str, dict] = {name: {} for name in weights}
    for step in range(steps):
        for name, g in gradients(shapes_of(model), step, size).items():
            decay = spec.weight_decay if weights[name].ndim > 1 else 0.0
            at: Any = {"t": step + 1, "rate": RATES[step], "spec": spec, "decay": decay}
            weights[name] = RULES[spec.name](weights[name], g.astype(np.float64), states[name], **at)
    return weights


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.0, "weight_decay": 0.0},
        {"momentum": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.5},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_are_those_of_the_paper(name: Any, settings: dict[str, float]) -> None:
    model, spec = Model(), OptimizerSpec(name=name, **settings)
    wanted = by_hand(model, spec)
    run(model, build_optimizer(model, spec))
    for key, parameter in model.named_parameters():
        close(parameter.detach(), wanted[key], key, 5e-6)


def test_adafactor_is_that_of_torch_where_torch_is_right() -> None:
    model, other = (Model({"matrix": (8, 5), "vector": (6,)}) for _ in range(2))
    run(model, build_optimizer(model, OptimizerSpec(name="adafactor", weight_decay=0.0)))
    theirs = torch.optim.Adafactor(other.parameters(), lr=RATES[0])
    run(other, theirs)
    for (key, parameter), wanted in zip(model.named_parameters(), other.parameters(), strict=True):
        close(parameter.detach(), wanted.detach(), key, 1e-6)


def test_adafactor_slows_down_with_the_root_of_the_step_however_high_its_rate() -> None:
    model, other = (Model({"matrix": (8, 5)}) for _ in range(2))
    optimizer = build_optimizer(model, OptimizerSpec(name="adafactor", lr=0.5, weight_decay=0.0))
    theirs = torch.optim.Adafactor(other.parameters(), lr=0.5)
    for step in range(8):
        give(model, gradients(shapes_of(model), step))
        give(other, gradients(shapes_of(model), step))
        apply(optimizer)
        theirs.step()
    close(model.matrix.detach(), other.matrix.detach(), "matrix", 1e-6)


def test_adafactor_moves_as_far_by_gradients_of_any_size() -> None:
    moved = []
    for size in (1.0, 1e-7):
        model = Model({"matrix": (8, 5)})
        optimizer = build_optimizer(model, OptimizerSpec(name="adafactor", lr=0.01))
        for step in range(3):
            give(model, gradients(shapes_of(model), step, size))
            apply(optimizer)
        moved.append(model.matrix.detach())
    close(moved[1], moved[0], "weights", 1e-5)


def test_adafactor_splits_a_kernel_along_its_longest_axes() -> None:
    model = Model({"kernel": (64, 32, 3, 3)})
    found = optimizer_tensors(model, build_optimizer(model, OptimizerSpec(name="adafactor")))
    assert sum(tensor.numel() for tensor in found.values()) < model.kernel.numel() / 15


def test_gradients_of_nothing_but_zeros_leave_vectors_alone_and_make_no_nan() -> None:
    for name in NAMES:
        model = Model()
        before = model.vector.detach().clone()
        optimizer = build_optimizer(model, OptimizerSpec(name=name))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        apply(optimizer)
        assert torch.equal(model.vector, before)
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    inner = {
        f"{name}/{slot}": value.clone()
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state[parameter].items()
    }
    return inner | {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[key]) for key, tensor in first.items())


LARGE = {"matrix": (64, 96), "vector": (6,), "kernel": (32, 16, 3, 3), "odd": (63, 97)}
"""Some of these are large enough for moments of 8 bits, and one has no whole number of blocks."""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.0])
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("name", [*NAMES, "adamw8bit"])
def test_a_step_that_is_skipped_leaves_everything_as_it_was(name: Any, begun: bool, value: float) -> None:
    model = Model(LARGE)
    optimizer = build_optimizer(model, OptimizerSpec(name=name))
    run(model, optimizer, 0, 3 * begun)
    before = state(model, optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, value)
    apply(optimizer, torch.tensor(2.0))
    assert equal(state(model, optimizer), before)
    apply(optimizer, torch.tensor(0.0))
    assert not equal(state(model, optimizer), before)


@pytest.mark.parametrize("name", [*NAMES, "adamw8bit"])
def test_a_step_that_might_have_been_skipped_is_the_same_step(name: Any) -> None:
    first, second = Model(LARGE), Model(LARGE)
    mine, other = (build_optimizer(model, OptimizerSpec(name=name)) for model in (first, second))
    for step in range(3):
        for model, optimizer, skip in ((first, mine, None), (second, other, torch.zeros(()))):
            give(model, gradients(shapes_of(model), step))
            apply(optimizer, skip)
    assert equal(state(first, mine), state(second, other))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", [*NAMES, "adamw8bit"])
def test_a_saved_state_goes_on_bit_for_bit(name: Any, memory_format: torch.memory_format) -> None:
    spec = OptimizerSpec(name=name)
    whole, half, rest = (Model(LARGE).to(memory_format=memory_format) for _ in range(3))  # type: ignore[call-overload]  # torch's stub lacks it
    run(whole, build_optimizer(whole, spec))
    optimizer = build_optimizer(half, spec)
    run(half, optimizer, 0, 6)
    saved = {key: tensor.clone() for key, tensor in optimizer_tensors(half, optimizer).items()}
    rest.load_state_dict(half.state_dict())
    optimizer = build_optimizer(rest, spec)
    fill_optimizer(rest, optimizer, saved)
    run(rest, optimizer, 6)
    for key, parameter in rest.named_parameters():
        assert torch.equal(parameter, whole.get_parameter(key)), key


@pytest.mark.parametrize("name", [*NAMES, "adamw8bit"])
def test_a_kernel_in_channels_last_order_moves_as_any_other(name: Any) -> None:
    model, other = Model({"kernel": (32, 16, 3, 3)}), Model({"kernel": (32, 16, 3, 3)})
    other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    for each in (model, other):
        run(each, build_optimizer(each, OptimizerSpec(name=name)))
    assert other.kernel.is_contiguous(memory_format=torch.channels_last)
    close(other.kernel.detach(), model.kernel.detach(), "kernel", 1e-6)


@pytest.mark.parametrize("name", [*NAMES, "adamw8bit"])
def test_no_step_reads_a_number_back_from_the_device(name: Any) -> None:
    # Torchao's map of values is made on the host, once.
    build_optimizer(Model(LARGE), OptimizerSpec(name="adamw8bit"))
    with FakeTensorMode():
        model = Model(LARGE)
        optimizer = build_optimizer(model, OptimizerSpec(name=name))
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)
        apply(optimizer, torch.empty(()))
        optimizer_tensors(model, optimizer)


def test_adamw8bit_is_that_of_torchao() -> None:
    from torchao.optim.adam import single_param_adam  # type: ignore[import-untyped]  # it has none
    from torchao.optim.subclass_8bit import OptimState8bit  # type: ignore[import-untyped]  # as above

    model = Model({"matrix": (64, 96)})
    spec = OptimizerSpec(name="adamw8bit")
    weight, step = model.matrix.detach().clone(), torch.tensor(0.0)
    first, second = (OptimState8bit.zeros(weight.shape, signed) for signed in (True, False))
    for at in range(STEPS):
        step += 1
        gradient = torch.from_numpy(gradients({"matrix": (64, 96)}, at)["matrix"])
        rate = torch.tensor(RATES[at])
        moments = (first, second, None)
        single_param_adam(weight, gradient, step, *moments, rate, *spec.betas, spec.weight_decay, spec.eps, True, False)
    optimizer = build_optimizer(model, spec)
    run(model, optimizer)
    close(model.matrix.detach(), weight, "weights", 1e-6)
    close(optimizer_tensors(model, optimizer)["matrix/exp_avg"], first.dequantize(), "moments", 1e-6)


def test_adamw8bit_stays_near_adamw_in_a_third_of_the_memory_and_each_goes_on_from_the_other() -> None:
    small, large = Model({"matrix": (256, 64)}), Model({"matrix": (256, 64)})
    few, many = (
        build_optimizer(model, OptimizerSpec(name=name))
        for model, name in zip((small, large), EIGHT_AND_WHOLE, strict=True)
    )
    run(small, few)
    run(large, many)
    close(small.matrix.detach(), large.matrix.detach(), "weights", 0.02)
    sizes = [sum(v.nbytes for v in o.state[m.matrix].values()) for m, o in ((small, few), (large, many))]
    assert sizes[0] < sizes[1] / 3
    wanted = {key: tensor.clone() for key, tensor in optimizer_tensors(large, many).items()}
    fill_optimizer(small, few, wanted)
    close(optimizer_tensors(small, few)["matrix/exp_avg"], wanted["matrix/exp_avg"], "moments", 0.02)
    fill_optimizer(large, many, optimizer_tensors(small, few))
    assert torch.equal(many.state[large.matrix]["exp_avg"], optimizer_tensors(small, few)["matrix/exp_avg"])


def test_adamw8bit_without_torchao_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "services.train_svc.engine.on_torch.optimizer.adamw8bit", raising=False)
    monkeypatch.setitem(sys.modules, "torchao.optim.quant_utils", None)
    with pytest.raises(InvalidError, match="use adamw") as caught:
        build_optimizer(Model(), OptimizerSpec(name="adamw8bit"))
    assert caught.value.violations[0].field == "optimizer"


def test_matrices_decay_and_vectors_do_not() -> None:
    for name in (*NAMES, "adamw8bit"):
        model = Model({"matrix": (64, 96), "vector": (6,)})
        before = model.vector.detach().clone(), model.matrix.detach().clone()
        optimizer = build_optimizer(model, OptimizerSpec(name=name, lr=0.1, weight_decay=0.5))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        apply(optimizer)
        assert torch.equal(model.vector, before[0])
        # SGD's decay is part of its gradient, and so of its momentum.
        close(model.matrix.detach(), before[1] * (1 - 0.05 * (1.9 if name == "sgd" else 1.0)), name, 1e-6)


def test_shared_parameters_count_once_and_frozen_ones_not_at_all() -> None:
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)])
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    optimizer = build_optimizer(model, OptimizerSpec())
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(each) for each in trained} == {id(model[0].weight), id(model[0].bias), id(model[1].bias)}
    assert len(trained) == 3
    assert {key.rpartition("/")[0] for key in optimizer_tensors(model, optimizer)} == {"0.weight", "0.bias", "1.bias"}


def test_a_model_with_nothing_to_train_is_refused() -> None:
    model = nn.Linear(3, 3).requires_grad_(False)
    with pytest.raises(InvalidError, match="no parameter of the model is trainable") as caught:
        build_optimizer(model, OptimizerSpec())
    assert caught.value.violations[0].field == "model"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("matrix/exp_avg_sq"), "matrix/exp_avg_sq is missing"),
        (lambda t: t.update({"other/exp_avg": torch.zeros(3)}), "other/exp_avg is unknown"),
        (lambda t: t.update({"vector/exp_avg": torch.zeros(3)}), r"vector/exp_avg is \[3\], wanted \[6\]"),
        (lambda t: t.update({"vector/momentum_buffer": torch.zeros(6)}), "vector/momentum_buffer is unknown"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(change: Callable, message: str) -> None:
    model = Model()
    optimizer = build_optimizer(model, OptimizerSpec())
    run(model, optimizer, 0, 2)
    before = state(model, optimizer)
    tensors = {key: torch.ones_like(tensor) for key, tensor in optimizer_tensors(model, optimizer).items()}
    change(tensors)
    with pytest.raises(InvalidError, match=message):
        fill_optimizer(model, optimizer, tensors)
    assert equal(state(model, optimizer), before)


def test_an_empty_state_begins_anew() -> None:
    for name in (*NAMES, "adamw8bit"):
        model, fresh = Model(LARGE), Model(LARGE)
        optimizer = build_optimizer(model, OptimizerSpec(name=name))
        run(model, optimizer, 0, 2)
        fill_optimizer(model, optimizer, {})
        wanted = build_optimizer(fresh, OptimizerSpec(name=name))
        assert all(
            torch.equal(tensor, optimizer_tensors(fresh, wanted)[key])
            for key, tensor in optimizer_tensors(model, optimizer).items()
        )


class OnTensorflow:
    """The same model there, moved by the same gradients."""

    def __init__(self, model: Any, spec: OptimizerSpec) -> None:
        import tensorflow as tf

        from services.train_svc.engine.on_tensorflow import optimizer, tensors

        self.model, self.tf, self.tensors, self.module = model, tf, tensors, optimizer
        self.optimizer = optimizer.build_optimizer(model, spec)
        self.apply = tf.function(self.optimizer.apply)

    def run(self, first: int, last: int, skip: float | None = None, value: float | None = None) -> None:
        params = self.optimizer.params
        for step in range(first, last):
            self.module.set_rate(self.optimizer, RATES[step])
            given = gradients({name: param.shape for name, param in params.items()}, step)
            found = [
                self.tf.constant(
                    self.tensors.from_canonical(array if value is None else np.full_like(array, value), params[name])
                )
                for name, array in given.items()
            ]
            self.apply(found, None if skip is None else self.tf.constant(skip))

    def weights(self) -> Arrays:
        return self.tensors.named_tensors(self.model)

    def state(self) -> Arrays:
        return self.module.optimizer_tensors(self.model, self.optimizer)


@pytest.mark.parametrize("name", NAMES)
def test_both_engines_move_alike(name: Any, tmp_path: Path) -> None:
    spec = OptimizerSpec(name=name)
    model, other = pair(DESCRIPTION, tmp_path)
    theirs = OnTensorflow(other, spec)
    optimizer = build_optimizer(model, spec)
    run(model, optimizer)
    theirs.run(0, STEPS)
    for key, array in theirs.weights().items():
        close(array, model.state_dict()[key], key, 2e-5)
    wanted = optimizer_tensors(model, optimizer)
    assert theirs.state().keys() == wanted.keys()
    for key, array in theirs.state().items():
        close(array, wanted[key], key, 2e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("torch_first", [True, False])
def test_a_state_goes_on_on_the_other_engine(name: Any, torch_first: bool, tmp_path: Path) -> None:
    spec = OptimizerSpec(name=name)
    whole, other = pair(DESCRIPTION, tmp_path)
    model, _ = pair(DESCRIPTION, tmp_path)
    run(whole, build_optimizer(whole, spec))
    theirs, optimizer = OnTensorflow(other, spec), build_optimizer(model, spec)
    if torch_first:
        run(model, optimizer, 0, 4)
        theirs.tensors.fill(other, {key: tensor.numpy() for key, tensor in model.state_dict().items()}, "torch")
        saved = {key: tensor.numpy() for key, tensor in optimizer_tensors(model, optimizer).items()}
        theirs.module.fill_optimizer(other, theirs.optimizer, saved)
        theirs.run(4, STEPS)
        found: Any = theirs.weights()
    else:
        theirs.run(0, 4)
        model.load_state_dict({key: torch.tensor(array) for key, array in theirs.weights().items()})
        fill_optimizer(model, optimizer, {key: torch.tensor(array) for key, array in theirs.state().items()})
        run(model, optimizer, 4)
        found = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    for key, tensor in whole.state_dict().items():
        close(found[key], tensor, key, 2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_skipped_step_on_tensorflow_leaves_everything_as_it_was(name: Any, tmp_path: Path) -> None:
    theirs = OnTensorflow(pair(DESCRIPTION, tmp_path)[1], OptimizerSpec(name=name))
    theirs.run(0, 2, skip=0.0)
    before = theirs.weights() | theirs.state()
    theirs.run(2, 3, skip=1.0, value=float("nan"))
    after = theirs.weights() | theirs.state()
    assert all(np.array_equal(after[key], array) for key, array in before.items())


def test_tensorflow_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    model = pair(DESCRIPTION, tmp_path)[1]
    with pytest.raises(InvalidError, match="runs on torch alone"):
        OnTensorflow(model, OptimizerSpec(name="adamw8bit"))
    flat = pair(Description(name="flat", input_shape=(3, 2), body=(Flatten(name="flat"),)), tmp_path)[1]
    with pytest.raises(InvalidError, match="no variable of the model is trainable") as caught:
        OnTensorflow(flat, OptimizerSpec())
    assert caught.value.violations[0].field == "model"


@pytest.mark.parametrize("name", NAMES)
def test_a_users_keras_model_moves_as_one_of_torch(name: Any) -> None:
    import keras

    spec = OptimizerSpec(name=name)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8)])
    theirs = OnTensorflow(model, spec)
    weights = {key: np.array(array) for key, array in theirs.weights().items()}
    mine = nn.ParameterDict({key.replace(".", "_"): torch.tensor(array) for key, array in weights.items()})
    optimizer = build_optimizer(mine, spec)
    theirs.run(0, 3)
    for step in range(3):
        set_rate(optimizer, RATES[step])
        given = gradients({key: array.shape for key, array in weights.items()}, step)
        give(mine, {key.replace(".", "_"): array for key, array in given.items()})
        apply(optimizer)
    for key, array in theirs.weights().items():
        close(array, mine[key.replace(".", "_")].detach(), key, 2e-5)


def test_a_parameter_that_never_got_a_gradient_does_not_hold_back_the_counter_on_tensorflow(tmp_path: Path) -> None:
    model, other = pair(DESCRIPTION, tmp_path)
    optimizer = build_optimizer(model, OptimizerSpec())
    for step in range(3):
        give(model, gradients(shapes_of(model), step))
        model.head.bias.grad = None
        apply(optimizer)
    theirs = OnTensorflow(other, OptimizerSpec())
    saved = {key: tensor.numpy() for key, tensor in optimizer_tensors(model, optimizer).items()}
    theirs.module.fill_optimizer(other, theirs.optimizer, saved)
    assert float(theirs.optimizer.step) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", [*NAMES, "adamw8bit"])
def test_a_captured_step_sees_new_rates_and_skips(name: Any) -> None:
    eager, captured = Model(LARGE).cuda(), Model(LARGE).cuda()
    mine, other = (build_optimizer(model, OptimizerSpec(name=name)) for model in (eager, captured))
    for model in (eager, captured):
        give(model, gradients(shapes_of(model), 0))
    skip = torch.zeros((), device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        apply(mine, skip)
        apply(other, skip)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        apply(other, skip)
    for step in range(4):
        skip.fill_(float(step == 2))
        given = gradients(shapes_of(eager), step)
        for key, array in given.items():
            for model in (eager, captured):
                gradient = model.get_parameter(key).grad
                assert gradient is not None
                gradient.copy_(torch.from_numpy(array))
        before = {key: tensor.clone() for key, tensor in captured.state_dict().items()}
        set_rate(mine, RATES[step])
        set_rate(other, RATES[step])
        apply(mine, skip)
        graph.replay()
        assert equal(before, captured.state_dict()) == (step == 2)
    assert equal(state(eager, mine), state(captured, other))

"""What holds for every loss."""

from typing import Any, get_args

import numpy as np
import pytest
import torch

from services.train_svc.engine.losses import check_targets
from services.train_svc.engine.on_tensorflow.losses import LOSSES as TENSORFLOW_LOSSES
from services.train_svc.engine.on_torch.losses import LOSSES as TORCH_LOSSES
from services.train_svc.engine.on_torch.losses import build_loss
from services.train_svc.engine.spec.loss import LossName
from tests.unit.train_svc.engine.losses.cases import ALL, Case
from tests.unit.train_svc.engine.losses.engines import ENGINES, assert_same, both, measure

SMOOTHING = 0.1


@pytest.fixture(params=ALL)
def case(request: pytest.FixtureRequest) -> Case:
    return ALL[request.param]()


def cut(case: Case, rows: slice) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    outputs, targets = ({name: array[rows] for name, array in part.items()} for part in case[1:])
    return outputs, targets


def test_every_name_of_the_spec_is_there_on_both_engines() -> None:
    assert set(TORCH_LOSSES) == set(TENSORFLOW_LOSSES) == set(get_args(LossName))


def test_the_cases_have_no_fault(case: Case) -> None:
    check_targets(case.spec, case.targets, {name: array.shape for name, array in case.outputs.items()})


@pytest.mark.parametrize("smoothing", [0.0, SMOOTHING])
def test_both_engines_agree_in_value_and_gradient(case: Case, smoothing: float) -> None:
    found = both(*case, smoothing)
    assert np.isfinite(found.total)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in found.gradients.values())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_in_pieces_gives_the_whole_one(case: Case, engine: str) -> None:
    whole = measure(engine, *case, SMOOTHING)
    pieces = [
        measure(engine, case.spec, *cut(case, rows), SMOOTHING, weight=whole.weight)
        for rows in (slice(0, 1), slice(1, 3), slice(3, 4))
    ]
    np.testing.assert_allclose(sum(each.total for each in pieces), whole.total, rtol=1e-5)
    np.testing.assert_allclose(sum(each.weight for each in pieces), whole.weight, rtol=1e-6)
    for name, gradient in whole.gradients.items():
        joined = np.concatenate([each.gradients[name] for each in pieces])
        np.testing.assert_allclose(joined, gradient, atol=1e-6)


def test_torch_compiles_it_as_one_graph(case: Case) -> None:
    def compiled(function: Any) -> Any:
        return torch.compile(function, fullgraph=True, backend="aot_eager")

    assert_same(measure("torch", *case, SMOOTHING, through=compiled), measure("torch", *case, SMOOTHING))


@pytest.mark.parametrize("shapes", ["known", "unknown"])
def test_tensorflow_makes_a_graph_of_it(case: Case, shapes: str) -> None:
    import tensorflow as tf

    def free(array: np.ndarray, kept: int) -> tf.TensorSpec:
        # Classes are known when a model is built; batch, times and sides are not.
        return tf.TensorSpec([None if axis != kept else size for axis, size in enumerate(array.shape)], array.dtype)

    kept = 1 if case.spec.name == "segmentation" else None
    signature = [
        {name: free(array, array.ndim - 1 if kept is None else kept) for name, array in case.outputs.items()},
        {name: free(array, -1) for name, array in case.targets.items()},
    ]

    def compiled(function: Any) -> Any:
        return tf.function(function, input_signature=signature if shapes == "unknown" else None)

    assert_same(measure("tensorflow", *case, SMOOTHING, through=compiled), measure("tensorflow", *case, SMOOTHING))


@pytest.mark.parametrize("engine", ENGINES)
def test_half_precision_scores_are_summed_in_float32(case: Case, engine: str) -> None:
    halved = {name: array.astype(np.float16) for name, array in case.outputs.items()}
    wanted = measure(engine, case.spec, {name: each.astype(np.float32) for name, each in halved.items()}, case.targets)
    found = measure(engine, case.spec, halved, case.targets)
    np.testing.assert_allclose(found.total, wanted.total, rtol=1e-6)
    for name, gradient in wanted.gradients.items():
        assert found.gradients[name].dtype == np.float16
        np.testing.assert_allclose(found.gradients[name], gradient, atol=1e-3)


def test_on_torch_nothing_is_read_back_from_the_device(case: Case) -> None:
    # On the meta device there is nothing to read, so a loss that looks at a value fails.
    loss = build_loss(case.spec, label_smoothing=SMOOTHING)
    outputs, targets = (
        {
            name: torch.empty(array.shape, dtype=torch.from_numpy(array).dtype, device="meta")
            for name, array in part.items()
        }
        for part in case[1:]
    )
    assert (loss.total(outputs, targets) / loss.weight(targets)).shape == ()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [name for name in ALL if "attention" not in name and name != "rnnt"])
def test_a_blend_of_two_samples_is_the_blend_of_their_losses(name: str, engine: str) -> None:
    case = ALL[name]()
    other = {
        f"other_{key}": np.roll(array, 1, axis=0) for key, array in case.targets.items() if key.startswith("label")
    }
    if "frame_lengths" in case.targets:
        case.targets["frame_lengths"] = np.full(4, 9)
    if "mask" in case.targets:
        case.targets["labels"] = other["other_labels"] = np.ones_like(case.targets["labels"])
    share = np.array([0.25, 0.5, 0.75, 1.0], np.float32)
    mixed = measure(engine, case.spec, case.outputs, {**case.targets, **other, "share": share}, SMOOTHING)
    total = weight = 0.0
    for row, part in enumerate(share):
        for weighs, side in (
            (part, {}),
            (1 - part, {key.removeprefix("other_"): array for key, array in other.items()}),
        ):
            outputs, targets = cut(case._replace(targets={**case.targets, **side}), slice(row, row + 1))
            single = measure(engine, case.spec, outputs, targets, SMOOTHING, weight=1.0)
            total, weight = total + weighs * single.total, weight + weighs * single.weight
    np.testing.assert_allclose([mixed.total, mixed.weight], [total, weight], rtol=1e-5)

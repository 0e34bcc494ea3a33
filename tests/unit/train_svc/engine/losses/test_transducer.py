"""RNN-T against every alignment written out."""

import itertools

import numpy as np
import pytest
import torch

from services.train_svc.engine.on_torch.losses.transducer import align_transducer, differentiate_transducer
from services.train_svc.engine.spec import LossSpec
from tests.unit.train_svc.engine.losses.cases import JUNK, rnnt, scores
from tests.unit.train_svc.engine.losses.engines import ENGINES, both, log_softmax, measure, slopes


def all_alignments(given: np.ndarray, labels: list[int], blank: int = 0) -> float:
    """Return -log of the sum over all orders of as many blanks as frames and the labels, a blank at the end."""
    logs, time = log_softmax(given), len(given)
    total = 0.0
    for where in itertools.combinations(range(time + len(labels) - 1), len(labels)):
        t = u = 0
        path = 0.0
        for step in range(time + len(labels)):
            path += logs[t, u, labels[u] if step in where else blank]
            t, u = (t, u + 1) if step in where else (t + 1, u)
        total += np.exp(path)
    return -float(np.log(total))


def one_by_one(given: np.ndarray, labels: list[int], blank: int) -> float:
    """Return the same by loops over the lattice, for longer samples."""
    logs, (time, width) = log_softmax(given), given.shape[:2]
    alpha = np.full((time, width), -np.inf)
    alpha[0, 0] = 0
    for t, u in itertools.product(range(time), range(width)):
        if t:
            alpha[t, u] = np.logaddexp(alpha[t, u], alpha[t - 1, u] + logs[t - 1, u, blank])
        if u:
            alpha[t, u] = np.logaddexp(alpha[t, u], alpha[t, u - 1] + logs[t, u - 1, labels[u - 1]])
    return -float(alpha[-1, -1] + logs[-1, -1, blank])


@pytest.mark.parametrize(
    ("time", "labels", "blank"), [(4, [1, 2], 0), (1, [1, 1, 2], 0), (3, [], 0), (3, [0, 2, 0], 3)]
)
def test_it_is_the_sum_over_all_alignments_with_its_exact_gradient(time: int, labels: list[int], blank: int) -> None:
    # Two frames and a label more than the sample has, of which nothing may be seen.
    given = scores(time + 2, len(labels) + 2, 4)
    targets = {
        "labels": np.array([[*labels, JUNK]]),
        "label_lengths": np.array([len(labels)]),
        "frame_lengths": np.array([time]),
    }
    found = both(LossSpec(name="rnnt", blank=blank), {"logits": given[None]}, targets)
    seen = given[:time, : len(labels) + 1]
    np.testing.assert_allclose(found.total, all_alignments(seen, labels, blank), rtol=1e-6)
    wanted = np.zeros(given.shape)
    wanted[:time, : len(labels) + 1] = slopes(lambda near: all_alignments(near, labels, blank), seen)
    np.testing.assert_allclose(found.gradients["logits"][0], wanted, atol=1e-6)


def test_samples_of_many_lengths_in_one_batch_are_those_alone() -> None:
    spec, outputs, targets = rnnt()
    wanted = 0.0
    for given, labels, length, frames in zip(outputs["logits"], *targets.values(), strict=True):
        wanted += all_alignments(given[:frames, : length + 1], labels[:length].tolist())
    found = both(spec, outputs, targets)
    np.testing.assert_allclose(found.total, wanted, rtol=1e-6)
    assert found.weight == 4


def test_long_recordings_keep_their_precision() -> None:
    given, labels = scores(1, 120, 31, 20), np.random.default_rng(0).integers(1, 20, (1, 30))
    targets = {"labels": labels, "label_lengths": np.array([30]), "frame_lengths": np.array([120])}
    found = both(LossSpec(name="rnnt"), {"logits": given}, targets)
    np.testing.assert_allclose(found.total, one_by_one(given[0], labels[0].tolist(), 0), rtol=1e-6)
    gradient = found.gradients["logits"][0]
    for place in np.argsort(-np.abs(gradient), axis=None)[:1000:200]:
        around = given[0].astype(np.float64), given[0].astype(np.float64)
        around[0].flat[place] += 1e-4
        around[1].flat[place] -= 1e-4
        above, below = (one_by_one(each, labels[0].tolist(), 0) for each in around)
        np.testing.assert_allclose(gradient.flat[place], (above - below) / 2e-4, rtol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sample_without_frames_costs_infinitely_and_moves_nothing(engine: str) -> None:
    spec, outputs, targets = rnnt()
    targets["frame_lengths"][1] = 0
    found = measure(engine, spec, outputs, targets)
    assert found.total == np.inf
    assert not found.gradients["logits"][1].any()
    assert np.isfinite(found.gradients["logits"]).all()


def test_tokens_that_a_mask_rules_out_break_neither_value_nor_gradient() -> None:
    spec, outputs, targets = rnnt()
    outputs["logits"][:, ::2, :, 1:3] = -np.inf
    outputs["logits"][0, 1, 0, 0] = -np.inf
    found = both(spec, outputs, targets)
    assert np.isfinite(found.total)
    assert np.isfinite(found.gradients["logits"]).all()


def test_the_same_batch_gives_the_same_bits() -> None:
    first, second = (measure("torch", *rnnt()) for _ in range(2))
    assert first.total == second.total
    assert first.gradients["logits"].tobytes() == second.gradients["logits"].tobytes()


def test_the_lattice_looks_at_no_value_on_the_host() -> None:
    spec, outputs, targets = rnnt()
    inputs = [outputs["logits"], *(targets[name] for name in ("labels", "frame_lengths", "label_lengths"))]
    given = [torch.empty(each.shape, dtype=torch.from_numpy(each).dtype, device="meta") for each in inputs]
    losses, norms, taken = align_transducer._init_fn(*given, spec.blank)
    names = torch.empty((*norms.shape, 1), dtype=torch.int64, device="meta")
    gradient = differentiate_transducer._init_fn(given[0], names, norms, taken, losses, blank=spec.blank)
    assert gradient.shape == given[0].shape

"""CTC against every alignment written out, against torch's own, and the attention decoder against loops."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from services.train_svc.engine.losses import decoder_inputs, end_token
from services.train_svc.engine.on_torch.losses.ctc_alignment import align_ctc
from services.train_svc.engine.spec import LossSpec
from tests.unit.train_svc.engine.losses.cases import attention, ctc, ctc_attention, scores
from tests.unit.train_svc.engine.losses.engines import ENGINES, both, log_softmax, measure, slopes


def all_alignments(given: np.ndarray, labels: list[int], blank: int) -> float:
    """Return -log of the sum over all token sequences [time] that become the labels."""
    logs = log_softmax(given)
    total = 0.0
    for path in itertools.product(range(given.shape[1]), repeat=len(given)):
        merged = [token for token, _ in itertools.groupby(path)]
        if [token for token in merged if token != blank] == labels:
            total += np.exp(sum(logs[time, token] for time, token in enumerate(path)))
    return -float(np.log(total))


@pytest.mark.parametrize(
    ("labels", "blank"), [([1, 2], 0), ([1, 1], 0), ([2, 1, 2], 0), ([1], 0), ([], 0), ([0, 0], 3), ([3, 3, 1], 2)]
)
def test_ctc_is_the_sum_over_all_alignments_with_its_exact_gradient(labels: list[int], blank: int) -> None:
    given = scores(5, 4)
    targets = {
        "labels": np.array([[*labels, 9]]),
        "label_lengths": np.array([len(labels)]),
        "frame_lengths": np.array([5]),
    }
    found = both(LossSpec(name="ctc", blank=blank), {"ctc": given[None]}, targets)
    np.testing.assert_allclose(found.total, all_alignments(given, labels, blank), rtol=1e-6)
    wanted = slopes(lambda near: all_alignments(near, labels, blank), given)
    np.testing.assert_allclose(found.gradients["ctc"][0], wanted, atol=1e-6)


def test_ctc_is_that_of_torch_for_samples_of_many_lengths() -> None:
    spec, outputs, targets = ctc()
    leaf = torch.from_numpy(outputs["logits"]).requires_grad_()
    lengths = torch.from_numpy(targets["frame_lengths"]), torch.from_numpy(targets["label_lengths"])
    labels = torch.from_numpy(np.where(targets["labels"] > 5, 1, targets["labels"]))
    wanted = functional.ctc_loss(leaf.log_softmax(-1).transpose(0, 1), labels, *lengths, reduction="sum")
    wanted.backward()
    assert leaf.grad is not None
    found = both(spec, outputs, targets)
    np.testing.assert_allclose(found.total, wanted.item(), rtol=1e-6)
    np.testing.assert_allclose(found.gradients["logits"] * 4, leaf.grad, atol=1e-5)
    assert found.weight == 4


def test_ctc_of_long_recordings_keeps_its_precision() -> None:
    given, labels = scores(1, 600, 40), np.random.default_rng(0).integers(1, 40, (1, 120))
    targets = {"labels": labels, "label_lengths": np.array([120]), "frame_lengths": np.array([600])}
    exact = torch.from_numpy(given.astype(np.float64)).requires_grad_()
    lengths = torch.tensor([600]), torch.tensor([120])
    wanted = functional.ctc_loss(exact.log_softmax(-1).transpose(0, 1), torch.from_numpy(labels), *lengths)
    found = both(LossSpec(name="ctc"), {"ctc": given}, targets)
    np.testing.assert_allclose(found.total, wanted.item() * 120, rtol=1e-6)
    wanted.backward()
    assert exact.grad is not None
    np.testing.assert_allclose(found.gradients["ctc"], exact.grad * 120, atol=2e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("labels", "frames"), [([1, 2, 3], 2), ([1, 1], 2), ([1], 0)])
def test_what_cannot_be_aligned_costs_infinitely_and_moves_nothing(engine: str, labels: list[int], frames: int) -> None:
    targets = {
        "labels": np.array([labels, labels]),
        "label_lengths": np.array([len(labels)] * 2),
        "frame_lengths": np.array([5, frames]),
    }
    found = measure(engine, LossSpec(name="ctc"), {"ctc": scores(2, 5, 4)}, targets)
    assert found.total == np.inf
    assert np.abs(found.gradients["ctc"][0]).max() > 0.01
    assert not found.gradients["ctc"][1].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_said_in_no_time_costs_nothing(engine: str) -> None:
    none = np.array([0])
    targets = {"labels": np.zeros((1, 0), np.int64), "label_lengths": none, "frame_lengths": none}
    assert measure(engine, LossSpec(name="ctc"), {"ctc": scores(1, 3, 4)}, targets).total == 0


def test_tokens_that_a_mask_rules_out_break_neither_value_nor_gradient() -> None:
    spec, outputs, targets = ctc()
    outputs["logits"][:, ::2, 3] = -np.inf
    targets["labels"][1, 0] = 3
    found = both(spec, outputs, targets)
    assert np.isfinite(found.gradients["logits"]).all()


def test_the_alignment_looks_at_no_value_on_the_host() -> None:
    spec, outputs, targets = ctc()
    inputs = [outputs["logits"], *(targets[name] for name in ("labels", "frame_lengths", "label_lengths"))]
    given = [torch.empty(each.shape, dtype=torch.from_numpy(each).dtype, device="meta") for each in inputs]
    losses, *_ = align_ctc._init_fn(*given, spec.blank)
    assert losses.shape == (4,)


def attention_by_loops(given: np.ndarray, labels: np.ndarray, lengths: np.ndarray, smoothing: float) -> np.ndarray:
    """Return the cross entropy of each sample's labels and the end after them."""
    logs, result = log_softmax(given), np.zeros(len(given))
    for sample, length in enumerate(lengths):
        for place, token in enumerate([*labels[sample, :length], given.shape[-1] - 1]):
            spread = logs[sample, place].mean()
            result[sample] -= (1 - smoothing) * logs[sample, place, token] + smoothing * spread
    return result


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_decoder_is_judged_by_the_labels_and_the_end_token(smoothing: float) -> None:
    spec, outputs, targets = attention()
    found = both(spec, outputs, targets, smoothing)
    wanted = attention_by_loops(outputs["logits"], targets["labels"], targets["label_lengths"], smoothing)
    np.testing.assert_allclose(found.total, wanted.sum(), rtol=1e-6)
    assert found.weight == targets["label_lengths"].sum() + 4
    assert not found.gradients["logits"][1, 3:].any()


def test_ctc_and_both_decoders_are_weighted_as_the_spec_says() -> None:
    spec, outputs, targets = ctc_attention()
    labels, lengths = targets["labels"], targets["label_lengths"]
    aligned = both(LossSpec(name="ctc"), {"ctc": outputs["ctc"]}, targets).total
    forwards = attention_by_loops(outputs["logits"], labels, lengths, 0.1).sum()
    turned = np.array([[*row[:length][::-1], *row[length:]] for row, length in zip(labels, lengths, strict=True)])
    backwards = attention_by_loops(outputs["reverse_logits"], turned, lengths, 0.1).sum()
    found = both(spec, outputs, targets, 0.1)
    np.testing.assert_allclose(found.total, 0.3 * aligned + 0.7 * (0.75 * forwards + 0.25 * backwards), rtol=1e-6)
    assert found.weight == 4


def test_without_a_reverse_weight_no_reverse_decoder_is_wanted() -> None:
    _, outputs, targets = ctc_attention()
    del outputs["reverse_logits"]
    assert np.isfinite(both(LossSpec(name="ctc_attention"), outputs, targets).total)


def test_a_decoder_that_copies_what_it_will_read_next_has_no_loss() -> None:
    # What the decoder reads one place later is what it should have written.
    _, _, targets = attention()
    labels, lengths = targets["labels"], targets["label_lengths"]
    read = decoder_inputs(labels, lengths, end_token(6))
    for name in ("targets", "reverse_targets"):
        later = np.pad(read[name][:, 1:], ((0, 0), (0, 1)), constant_values=end_token(6))
        certain = 50 * np.eye(6, dtype=np.float32)[later]
        output = "logits" if name == "targets" else "reverse_logits"
        outputs = {"ctc": scores(4, 9, 6), "logits": certain, "reverse_logits": certain}
        spec = LossSpec(name="ctc_attention", ctc_weight=0.0, reverse_weight=float(output == "reverse_logits"))
        found = both(spec, outputs, {**targets, "frame_lengths": np.full(4, 9)})
        assert found.total == pytest.approx(0, abs=1e-5)

"""The loss of a vocabulary in chunks: what the plain one gives, without its scores."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from services.train_svc.engine.building import build
from services.train_svc.engine.memory import labelled_places
from services.train_svc.engine.on_torch.memory.cross_entropy import fitting_chunk, linear_cross_entropy
from services.train_svc.engine.on_torch.memory.head import defer_head, outlet, restore_head
from services.train_svc.engine.on_torch.memory.meter import PeakMeter
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.templates import describe

IGNORED = -100
MODELS: dict[str, dict[str, Any]] = {
    "bert": {"vocab_size": 50, "num_layers": 1, "d_model": 16, "attention_heads": 2, "feed_forward": 32,
             "max_length": 16, "head": "masked_lm"},
    "gpt2": {"vocab_size": 50, "num_layers": 1, "d_model": 16, "attention_heads": 2},
    "t5": {"vocab_size": 50, "num_layers": 1, "d_model": 16, "attention_heads": 2, "head_dim": 8, "feed_forward": 32},
    "conformer": {"encoder": {"num_layers": 1, "d_model": 16, "attention_heads": 2, "kernel_size": 5},
                  "decoder": {"type": "ctc", "vocab_size": 50}},
}  # fmt: skip


def case(places: int = 40, vocabulary: int = 30, features: int = 8) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden = torch.randn(2, places // 2, features, requires_grad=True)
    weight = torch.randn(vocabulary, features, requires_grad=True)
    bias = torch.randn(vocabulary, requires_grad=True)
    labels = torch.randint(0, vocabulary, (2, places // 2))
    labels[torch.rand(labels.shape) < 0.6] = IGNORED
    return hidden, weight, bias, labels


def plain(hidden: Any, weight: Any, bias: Any, labels: Any, **how: Any) -> Any:
    scores = functional.linear(hidden, weight, bias).flatten(0, 1).float()
    return functional.cross_entropy(scores, labels.flatten(), reduction="sum", ignore_index=IGNORED, **how)


def gradients(loss: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    # As a trainer scales it: by the number of places, and a loss scale.
    return torch.autograd.grad(loss * 3.7, tensors)


def check_close(got: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    for mine, other in zip(got, wanted, strict=True):
        assert mine.dtype == other.dtype
        assert (mine - other).detach().abs().max() <= tolerance * max(1.0, float(other.detach().abs().max()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 7, 16, 1000])
def test_loss_and_gradients_are_those_of_the_whole(chunk: int, smoothing: float) -> None:
    hidden, weight, bias, labels = case()
    inputs = (hidden, weight, bias)
    for places in (None, labelled_places(labels.numpy(), IGNORED, multiple=8)):
        chosen = None if places is None else torch.from_numpy(places)
        got = linear_cross_entropy(*inputs, labels, places=chosen, label_smoothing=smoothing, chunk=chunk)
        wanted = plain(*inputs, labels, label_smoothing=smoothing)
        check_close([got], [wanted])
        check_close(gradients(got, *inputs), gradients(wanted, *inputs))


def test_without_bias_and_with_a_frozen_weight_the_rest_gets_its_gradient() -> None:
    hidden, weight, _, labels = case()
    got = linear_cross_entropy(hidden, weight.detach(), None, labels, chunk=16)
    check_close(gradients(got, hidden), gradients(plain(hidden, weight, None, labels), hidden))
    frozen = linear_cross_entropy(hidden.detach(), weight, None, labels, chunk=16)
    check_close(gradients(frozen, weight), gradients(plain(hidden, weight, None, labels), weight))


def test_scores_are_stable_where_they_are_large() -> None:
    hidden, weight, bias, labels = case()
    large = (hidden.detach() * 1000).requires_grad_()
    got, wanted = linear_cross_entropy(large, weight, bias, labels, chunk=8), plain(large, weight, bias, labels)
    check_close([got], [wanted])
    check_close(gradients(got, large, weight), gradients(wanted, large, weight))


def test_under_autocast_it_is_as_near_to_float32_as_the_plain_loss() -> None:
    hidden, weight, bias, labels = case(400, 300, 32)
    inputs = (hidden, weight, bias)
    exact = plain(*inputs, labels)
    with torch.autocast("cpu", torch.bfloat16):
        got, usual = linear_cross_entropy(*inputs, labels, chunk=64), plain(*inputs, labels)
    assert got.dtype == torch.float32
    check_close([got], [exact], 1e-3)
    wanted = gradients(exact, *inputs)
    mine, theirs = gradients(got, *inputs), gradients(usual, *inputs)
    for one, other, true in zip(mine, theirs, wanted, strict=True):
        assert one.dtype == true.dtype
        assert (one - true).norm() <= 1.2 * (other - true).norm()


def test_no_place_with_a_label_gives_zero() -> None:
    hidden, weight, bias, labels = case()
    got = linear_cross_entropy(hidden, weight, bias, torch.full_like(labels, IGNORED), chunk=16)
    assert got == 0
    assert not any(each.any() for each in gradients(got, hidden, weight, bias))


def test_it_never_holds_all_scores() -> None:
    hidden, weight, bias, labels = case(2000, 1000, 8)
    scores = 4 * 2000 * 1000
    with PeakMeter(torch.device("cpu")) as whole:
        plain(hidden, weight, bias, labels).backward()
    with PeakMeter(torch.device("cpu")) as chunked:
        linear_cross_entropy(hidden, weight, bias, labels, chunk=100).backward()
    assert whole.peak_bytes > 2 * scores
    assert chunked.peak_bytes < 0.2 * scores


def test_chunks_are_even_and_bounded() -> None:
    assert fitting_chunk(5120, 30522) == 1024
    assert fitting_chunk(10, 50) == 10
    assert fitting_chunk(10, 2**40) == 1


@pytest.mark.parametrize("name", MODELS)
def test_a_model_whose_head_is_put_off_learns_the_same(name: str) -> None:
    torch.manual_seed(0)
    description = describe(name, dropout=0.0, **MODELS[name])
    model = build(description).train()
    inputs, labels = batch(description)
    wanted = plain_loss(model, inputs, labels)
    head = defer_head(model)
    assert head is not None
    hidden = model(**inputs)
    assert hidden.shape[-1] == 16
    got = head.cross_entropy(hidden, labels, chunk=5)
    names, tensors = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(got, tensors, allow_unused=True)
    for parameter, mine, other in zip(
        names, found, torch.autograd.grad(wanted, tensors, allow_unused=True), strict=True
    ):
        assert (mine is None) == (other is None), parameter
        if mine is not None:
            check_close([mine], [other], 2e-5)
    assert model.eval()(**inputs).shape[-1] == 50
    restore_head(model)
    assert torch.equal(plain_loss(model.train(), inputs, labels), wanted)


def batch(description: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    arrays = sample_inputs(description, sizes=dict.fromkeys(description.typical, 12))
    inputs = {key: torch.from_numpy(value) for key, value in arrays.items()}
    with torch.no_grad():
        shape = build(description).eval()(**inputs).shape[:-1]
    labels = torch.randint(0, 50, shape)
    labels[:, ::2] = IGNORED
    return inputs, labels


def plain_loss(model: Any, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = functional.cross_entropy(model(**inputs).flatten(0, -2), labels.flatten(), reduction="sum")
    return loss


def test_models_without_one_linear_outlet_keep_their_heads() -> None:
    bert = {**MODELS["bert"], "head": "pretraining"}
    assert defer_head(build(describe("bert", **bert))) is None
    assert defer_head(torch.nn.Linear(2, 2)) is None
    transducer = {**MODELS["conformer"], "decoder": {"vocab_size": 9}}
    assert outlet(build(describe("conformer", **transducer))) == ""


def test_it_compiles_without_a_break() -> None:
    torch.manual_seed(0)
    description = describe("bert", dropout=0.0, **MODELS["bert"])
    model = build(description).train()
    inputs, labels = batch(description)
    wanted = plain_loss(model, inputs, labels)
    head = defer_head(model)
    assert head is not None
    chosen = labelled_places(labels.numpy(), IGNORED, multiple=8)
    places = None if chosen is None else torch.from_numpy(chosen)

    def loss_of(inputs: dict[str, torch.Tensor], labels: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
        return head.cross_entropy(model(**inputs), labels, places=places, chunk=4) * 0.5

    names, tensors = zip(*((name, p) for name, p in model.named_parameters() if "types" not in name), strict=True)
    got = torch.compile(loss_of, fullgraph=True, backend="aot_eager")(inputs, labels, places)
    check_close([got], [wanted * 0.5])
    found = torch.autograd.grad(got, tensors, allow_unused=True)
    expected = torch.autograd.grad(wanted * 0.5, tensors, allow_unused=True)
    for name, mine, other in zip(names, found, expected, strict=True):
        assert (mine is None) == (other is None), name
        if mine is not None:
            check_close([mine], [other], 2e-5)

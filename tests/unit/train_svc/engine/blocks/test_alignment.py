import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description, Input, read_description
from services.train_svc.engine.architecture.blocks.alignment import (
    Alignment,
    DynamicConvolutionAttention,
    LocationSensitiveAttention,
)
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.architecture.blocks.linear import Embedding
from services.train_svc.engine.building import build
from tests.unit.train_svc.engine.parity import check_parity, close, pair

Array = npt.NDArray[Any]
GIVEN: dict[str, Any] = {"memory": "encoded", "weights": "weights", "features": 5}
LOCATION = LocationSensitiveAttention(name="look", filters=3, kernel_size=5, **GIVEN)
DYNAMIC = DynamicConvolutionAttention(name="look", filters=3, kernel_size=5, prior_length=4, **GIVEN)


def aligner(attention: Alignment) -> Description:
    return Description(
        name="aligner",
        inputs={
            "tokens": Input(shape=("symbols",), dtype="int64", below=11),
            "frames": Input(shape=("time", 6)),
            "lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="tokens"),
        },
        typical={"symbols": 9, "time": 7},
        body=(
            Part(name="encoder", input="tokens", lengths="lengths", output="encoded",
                 body=(Embedding(vocab_size=11, features=4),)),
            Part(name="decoder", input="frames", output="contexts", body=(attention,)),
        ),
        outputs=("contexts", "weights"),
    )  # fmt: skip


@pytest.mark.parametrize("attention", [LOCATION, DYNAMIC])
def test_both_engines_agree(attention: Alignment, tmp_path: Path) -> None:
    check_parity(aligner(attention), tmp_path, symbols=9, time=7)


@pytest.mark.parametrize("attention", [LOCATION, DYNAMIC])
def test_it_is_the_papers_formula_and_padding_is_not_seen(attention: Alignment) -> None:
    model = build(aligner(attention))
    tokens, frames = torch.randint(0, 11, (2, 9)), torch.randn(2, 7, 6)
    with torch.no_grad():
        found = model(tokens, frames, torch.tensor([9, 6]))
    own = {name.removeprefix("decoder.look."): tensor.numpy() for name, tensor in model.state_dict().items()}
    plain = {"location_sensitive_attention": plain_location, "dynamic_convolution_attention": plain_dynamic}
    for sample, length in enumerate((9, 6)):
        memory = own["encoder.embedding.weight"][tokens[sample, :length].numpy()]
        wanted = plain[attention.kind](own, frames[sample].numpy(), memory)
        close(found["weights"][sample, :, :length], wanted, "weights")
        close(found["contexts"][sample], wanted @ memory, "contexts")
        assert not found["weights"][sample, :, length:].any()


def plain_location(own: dict[str, Array], frames: Array, memory: Array) -> Array:
    last, total, result = np.zeros(len(memory)), np.zeros(len(memory)), []
    for frame in frames:
        padded = np.pad(np.stack((last, total)), ((0, 0), (2, 2)))
        energies = np.empty(len(memory))
        for place, vector in enumerate(memory):
            location = own["spread.weight"] @ (own["location.weight"] * padded[:, place : place + 5]).sum((1, 2))
            inner = own["query.weight"] @ frame + own["key.weight"] @ vector + location
            energies[place] = (own["score.weight"] @ np.tanh(inner))[0]
        last = softmax(energies)
        total = total + last
        result.append(last)
    return np.stack(result)


def plain_dynamic(own: dict[str, Array], frames: Array, memory: Array) -> Array:
    last, result = np.eye(len(memory))[0], []
    for frame in frames:
        hidden = np.tanh(own["query.weight"] @ frame + own["query.bias"])
        made = (own["dynamic.weight"] @ hidden).reshape(3, 5)
        near, before = np.pad(last, 2), np.pad(last, (3, 0))
        energies = np.empty(len(memory))
        for place in range(len(memory)):
            taps = near[place : place + 5]
            inner = own["spread_static.weight"] @ (own["static.weight"] @ taps)
            inner += own["spread_dynamic.weight"] @ (made @ taps) + own["spread_dynamic.bias"]
            prior = sum(DYNAMIC.prior[step] * before[place + 3 - step] for step in range(4))
            energies[place] = (own["score.weight"] @ np.tanh(inner))[0] + math.log(max(prior, 1e-6))
        last = softmax(energies)
        result.append(last)
    return np.stack(result)


def softmax(x: Array) -> Array:
    weights: Array = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
    return weights


def test_the_prior_of_the_paper_goes_one_symbol_a_frame_on_average() -> None:
    prior = DynamicConvolutionAttention(memory="a", weights="b").prior
    # Gamma functions at whole numbers away from alpha and beta: P(0) = B(alpha, n + beta) / B(alpha, beta).
    ratio = math.prod((0.9 + step) / (1.0 + step) for step in range(10))
    assert len(prior) == 11
    assert prior[0] == pytest.approx(ratio)
    assert sum(prior) == pytest.approx(1.0)
    assert sum(step * each for step, each in enumerate(prior)) == pytest.approx(1.0)


@pytest.mark.parametrize("attention", [LOCATION, DYNAMIC])
def test_a_loop_equals_the_whole_on_both_engines(attention: Alignment, tmp_path: Path) -> None:
    model, other = pair(aligner(attention), tmp_path)
    tokens, frames, lengths = torch.randint(0, 11, (2, 9)), torch.randn(2, 7, 6), torch.tensor([9, 6])
    with torch.no_grad():
        wanted = model(tokens, frames, lengths)
        state, made = model.initial_state(2, part="decoder", **model.encode(tokens, lengths=lengths)), []
        for chunk in frames.split([1, 4, 2], 1):
            result, state = model.step(state, chunk, part="decoder")
            made.append(result)
    given = other.encode({"tokens": tokens.numpy(), "lengths": lengths.numpy()})
    held, found = other.initial_state(2, part="decoder", **given), []
    step = tf.function(lambda held, chunk: other.step(held, chunk, part="decoder"))
    for chunk in frames.split([1, 4, 2], 1):
        answer, held = step(held, chunk.numpy())
        found.append(answer)
    for name in ("contexts", "weights"):
        close(torch.cat([each[name] for each in made], 1), wanted[name], f"torch's {name}")
        close(tf.concat([each[name] for each in found], 1), wanted[name], f"TensorFlow's {name}")


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(InvalidError, match="kernel_size"):
        aligner(LocationSensitiveAttention(kernel_size=4, **GIVEN))


def test_they_have_a_yaml_form() -> None:
    assert read_description(aligner(DYNAMIC).to_data()) == aligner(DYNAMIC)

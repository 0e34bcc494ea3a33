import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_parity, close, pair

Array = npt.NDArray[Any]
SMALL: dict[str, Any] = {
    "features": 5, "vocab_size": 11, "num_layers": 2, "input_dim": 4, "attention_heads": 4, "feed_forward": 24,
    "left_context": 6, "d_model": 12, "dropout": 0.0,
    "predictor": {"num_layers": 2, "embedding_dim": 8, "dropout": 0.0},
}  # fmt: skip
MEMORIES = [0, 2]
SEGMENT, AHEAD = 16, 4
HOP, SLOTS = 4, 5
"""Stacked frames of a segment, and those with its right context."""


def small(memory_size: int) -> Description:
    return describe("emformer", memory_size=memory_size, **SMALL)


def test_published_parameter_count() -> None:
    assert describe("Emformer RNN-T", size="base").root.parameter_count == 76_738_049


@pytest.mark.parametrize("memory_size", MEMORIES)
def test_both_engines_agree(memory_size: int, tmp_path: Path) -> None:
    # 70 frames: neither whole segments nor whole stacks.
    check_parity(small(memory_size), tmp_path, time=70, labels=3)


@pytest.mark.parametrize("memory_size", MEMORIES)
def test_the_encoder_is_the_papers_segment_by_segment(memory_size: int) -> None:
    model = build(small(memory_size)).eval()
    frames = torch.randn(1, 70, 5)
    with torch.no_grad():
        got = model.encode(frames)["encoded"][0]
    own = {name.removeprefix("encoder."): tensor.numpy() for name, tensor in model.state_dict().items()}
    close(got, Plain(own, memory_size).encode(frames[0].numpy()), "encoded")


@pytest.mark.parametrize("memory_size", MEMORIES)
def test_a_stream_equals_the_whole_on_both_engines(memory_size: int, tmp_path: Path) -> None:
    model, other = pair(small(memory_size), tmp_path)
    frames = torch.randn(2, 73, 5)
    with torch.no_grad():
        wanted = model.eval().encode(frames)["encoded"]
    chunks = list(chunks_of(frames))
    state, outputs = model.initial_state(2, part="encoder"), []
    for chunk, length in chunks:
        with torch.no_grad():
            output, state = model.step(state, chunk, part="encoder", lengths=length)
        outputs.append(output)
    close(torch.cat(outputs, 1)[:, : wanted.shape[1]], wanted, "torch's stream")
    step = tf.function(lambda held, given: other.step(held, given, part="encoder"))
    held, results = other.initial_state(2, part="encoder"), []
    for chunk, length in chunks:
        result, held = step(held, {"frames": chunk.numpy(), "lengths": length.numpy()})
        results.append(result)
    close(tf.concat(results, 1)[:, : wanted.shape[1]], wanted, "TensorFlow's stream")


def chunks_of(frames: torch.Tensor) -> Any:
    for start in range(0, frames.shape[1], SEGMENT):
        chunk = frames[:, start : start + SEGMENT + AHEAD]
        missing = SEGMENT + AHEAD - chunk.shape[1]
        yield torch.nn.functional.pad(chunk, (0, 0, 0, missing)), torch.full((2,), chunk.shape[1])


def test_two_segments_in_one_step_are_as_good_as_two_steps() -> None:
    model = build(small(2)).eval()
    frames = torch.randn(1, 2 * SEGMENT + AHEAD, 5)
    with torch.no_grad():
        state = model.initial_state(1, part="encoder")
        wanted, _ = model.step(state, frames, part="encoder")
        first, state = model.step(state, frames[:, : SEGMENT + AHEAD], part="encoder")
        second, _ = model.step(state, frames[:, SEGMENT:], part="encoder")
    close(torch.cat((first, second), 1), wanted, "the stream")


def test_padding_changes_nothing_of_what_is_real() -> None:
    model = build(small(2)).eval()
    frames, targets = torch.randn(2, 70, 5), torch.randint(0, 11, (2, 3))
    with torch.no_grad():
        both = model(frames, targets, torch.tensor([70, 41]), torch.tensor([3, 2]))
        alone = model(frames[1:, :41], targets[1:, :2])
    close(both[1:, :10, :3], alone, "the short sample")


def test_the_predictor_begins_with_blank_and_goes_on_label_by_label(tmp_path: Path) -> None:
    model, other = pair(small(0), tmp_path)
    targets = torch.tensor([[3, 7, 2]])
    with torch.no_grad():
        wanted = model.eval().encode(targets, part="predictor")["predicted"]
    state, held, ours, theirs = model.initial_state(1, part="predictor"), None, [], []
    held = other.initial_state(1, part="predictor")
    for label in (10, 3, 7, 2):
        with torch.no_grad():
            output, state = model.step(state, torch.tensor([[label]]), part="predictor")
        result, held = other.step(held, np.asarray([[label]]), part="predictor")
        ours.append(output)
        theirs.append(result)
    close(torch.cat(ours, 1), wanted, "torch's labels")
    close(tf.concat(theirs, 1), wanted, "TensorFlow's labels")


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_step_of_another_size_is_refused(engine: Any) -> None:
    model = build(small(0), engine=engine)
    frames: Any = np.zeros((1, SEGMENT, 5), np.float32)
    frames = torch.from_numpy(frames) if engine == "torch" else frames
    with pytest.raises(ValueError, match=r"wanted 4 n \+ 1"):
        model.step(model.initial_state(1, part="encoder"), frames, part="encoder")


@pytest.mark.parametrize(("option", "value"), [("segment_length", 10), ("right_context", 3), ("blank", 11)])
def test_options_that_do_not_fit_are_named(option: str, value: int) -> None:
    with pytest.raises(InvalidError, match=option):
        describe("emformer", **{**SMALL, option: value})


class Plain:
    """The encoder of the paper for one sample, one segment at a time, in NumPy."""

    def __init__(self, own: dict[str, Array], memory_size: int) -> None:
        self.own, self.memory_size = own, memory_size

    def encode(self, frames: Array) -> Array:
        x = frames @ self.own["input.weight"].T
        x = x[: len(x) // 4 * 4].reshape(-1, 16)
        starts = range(0, len(x), HOP)
        segments = [x[start : start + HOP] for start in starts]
        copies = [x[start + HOP : start + SLOTS] for start in starts]
        bank = [segment.mean(0) for segment in segments]
        for layer in range(2):
            segments, copies, bank = self._layer(f"segments.body.layers.{layer}", segments, copies, bank)
        return self._norm(self._linear(np.concatenate(segments), "output"), "norm")

    def _layer(self, name: str, segments: list[Array], copies: list[Array], bank: list[Array]) -> Any:
        inner = f"{name}.attend.body"
        normed = [self._norm(segment, f"{inner}.norm") for segment in segments]
        ahead = [self._norm(copy, f"{inner}.norm") for copy in copies]
        made: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
        for index, segment in enumerate(normed):
            before = np.concatenate(normed[: index + 1])[: -len(segment)]
            near = np.concatenate((before[max(len(before) - 6, 0) :], segment, ahead[index]))
            vectors = bank[max(index - self.memory_size, 0) : index] if self.memory_size else []
            seen = np.concatenate((np.reshape(vectors, (-1, 16)), near))
            own = np.concatenate((segment, ahead[index]))
            x = np.concatenate((segments[index], copies[index])) + self._attend(own, seen, f"{inner}.attention")
            x = self._norm(x + self._feed(x, f"{name}.feed.body"), f"{name}.norm")
            made[0].append(x[: len(segment)])
            made[1].append(x[len(segment) :])
            made[2].append(np.tanh(self._attend(segment.mean(0)[None], near, f"{inner}.attention")[0]))
        return made

    def _attend(self, x: Array, seen: Array, name: str) -> Array:
        query, key, value = (
            self._linear(source, f"{name}.{part}").reshape(-1, 4, 4)
            for source, part in ((x, "query"), (seen, "key"), (seen, "value"))
        )
        weights = np.exp(np.einsum("qhd,khd->hqk", query, key) / 2)
        mixed = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), value)
        return self._linear(mixed.reshape(len(x), -1), f"{name}.output")

    def _feed(self, x: Array, name: str) -> Array:
        x = self._linear(self._norm(x, f"{name}.norm"), f"{name}.up")
        return self._linear(x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2, f"{name}.down")

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self.own[f"{name}.weight"].T + self.own[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * self.own[f"{name}.weight"] + self.own[f"{name}.bias"]

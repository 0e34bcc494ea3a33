from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Block, Description, Input, read_description
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Save
from services.train_svc.engine.architecture.blocks.elementwise import Tanh
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.recurrent import Feedback, Lstm, ShiftRight
from services.train_svc.engine.building import build
from tests.unit.train_svc.engine.parity import check_parity, close, pair

FORMS: list[dict[str, Any]] = [{}, {"bidirectional": True}, {"norm_eps": 1e-3}]


def described(**options: Any) -> Description:
    return Description(
        name="reader",
        inputs={"frames": Input(shape=("time", 5)), "lengths": Input(shape=(), dtype="int64", lengths_of="frames")},
        typical={"time": 7},
        body=(Part(name="part", input="frames", lengths="lengths", body=(Lstm(hidden_size=6, **options),)),),
    )


@pytest.mark.parametrize("options", FORMS)
def test_both_engines_agree(options: dict[str, Any], tmp_path: Path) -> None:
    check_parity(described(**options), tmp_path, time=7)


@pytest.mark.parametrize("options", FORMS[:2])
def test_it_is_torchs_lstm_and_padding_does_not_reach_what_is_real(options: dict[str, Any]) -> None:
    model = build(described(**options))
    published = nn.LSTM(5, 6, batch_first=True, **options)
    published.load_state_dict({name.split(".")[-1]: tensor for name, tensor in model.state_dict().items()})
    frames, lengths = torch.randn(3, 7, 5), torch.tensor([4, 7, 1])
    packed = nn.utils.rnn.pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    wanted, _ = nn.utils.rnn.pad_packed_sequence(published(packed)[0], batch_first=True)
    got = model(frames, lengths)
    for sample, length in enumerate(lengths.tolist()):
        close(got[sample, :length].detach(), wanted[sample, :length].detach(), f"sample {sample}")


def test_norms_stand_on_the_gates_and_on_the_cell() -> None:
    model = build(described(norm_eps=1e-3))
    own = {name.split("lstm.")[-1]: tensor.numpy() for name, tensor in model.state_dict().items()}

    def norm(x: Any, name: str) -> Any:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-3) * own[f"{name}.weight"] + own[f"{name}.bias"]

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    frames, hidden, cell, wanted = np.random.default_rng(0).standard_normal((7, 5)), np.zeros(6), np.zeros(6), []
    for frame in frames:
        gates = norm(own["weight_ih_l0"] @ frame + own["weight_hh_l0"] @ hidden, "gate_norm")
        enter, forget, new, leave = np.split(gates, 4)
        cell = norm(sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new), "cell_norm")
        hidden = sigmoid(leave) * np.tanh(cell)
        wanted.append(hidden)
    close(model(torch.from_numpy(frames[None]).float())[0].detach(), np.stack(wanted), "hidden vectors")


@pytest.mark.parametrize("options", [FORMS[0], FORMS[2]])
def test_a_stream_equals_the_whole_on_both_engines(options: dict[str, Any], tmp_path: Path) -> None:
    model, other = pair(described(**options), tmp_path)
    frames = torch.randn(2, 7, 5)
    wanted, chunks = model(frames).detach(), frames.split([3, 1, 3], 1)
    state, outputs = model.initial_state(2), []
    for chunk in chunks:
        output, state = model.step(state, chunk)
        outputs.append(output.detach())
    close(torch.cat(outputs, 1), wanted, "torch's stream")
    step = tf.function(other.step)
    held, results = other.initial_state(2), []
    for chunk in chunks:
        result, held = step(held, chunk.numpy())
        results.append(result)
    close(tf.concat(results, 1), wanted, "TensorFlow's stream")


def test_tensorflow_takes_any_time_and_batch_in_one_trace(tmp_path: Path) -> None:
    model, other = pair(described(bidirectional=True), tmp_path)
    traced = tf.function(other.__call__, reduce_retracing=True).get_concrete_function(
        {"frames": tf.TensorSpec([None, None, 5]), "lengths": tf.TensorSpec([None], tf.int64)}
    )
    for batch, time in ((1, 3), (3, 8)):
        frames, lengths = torch.randn(batch, time, 5), torch.full((batch,), time - 1)
        close(
            traced({"frames": tf.constant(frames.numpy()), "lengths": tf.constant(lengths.numpy())}),
            model(frames, lengths).detach(),
            f"{batch} of {time}",
        )


def test_norms_are_refused_in_both_directions() -> None:
    with pytest.raises(InvalidError, match="not both"):
        described(norm_eps=1e-3, bidirectional=True)


def test_it_has_a_yaml_form() -> None:
    description = described(bidirectional=True)
    assert read_description(description.to_data()) == description


def fed_back(*body: Block, features: int = 3, keep: tuple[str, ...] = ("made",)) -> Description:
    return Description(
        name="looped",
        inputs={"frames": Input(shape=("time", 5))},
        typical={"time": 4},
        body=(ShiftRight(), Feedback(features=features, keep=keep, body=body)),
        outputs=("made",),
    )


LINEAR = (Linear(out_features=4), Tanh(), Save(value="made"))
GROWING = (Linear(out_features=4), Attention(heads=2, causal=True), Lstm(hidden_size=4), Save(value="made"))


@pytest.mark.parametrize("body", [LINEAR, GROWING])
def test_both_engines_agree_on_what_is_fed_back(body: tuple[Block, ...], tmp_path: Path) -> None:
    check_parity(fed_back(*body), tmp_path, time=4)


def test_feedback_gives_the_body_the_end_of_its_last_output() -> None:
    model = build(fed_back(*LINEAR))
    frames, last, wanted = torch.randn(2, 4, 5), torch.zeros(2, 3), []
    for frame in (torch.zeros(2, 5), *frames.unbind(1)[:-1]):
        made = torch.tanh(model.feedback.body.linear(torch.cat((frame, last), -1)))
        last = made[:, 1:]
        wanted.append(made.detach())
    close(model(frames).detach(), torch.stack(wanted, 1), "the loop")


def test_a_step_of_feedback_goes_on_where_the_last_ended(tmp_path: Path) -> None:
    model, other = pair(fed_back(*GROWING), tmp_path)
    frames = torch.randn(2, 4, 5)
    wanted = model(torch.cat((frames[:, 1:], frames[:, :1]), 1)).detach()[:, 1:]
    state, held = model.initial_state(2), other.initial_state(2)
    _, state = model.step(state, torch.zeros(2, 1, 5))
    _, held = other.step(held, np.zeros((2, 1, 5), np.float32))
    ours, theirs = [], []
    for chunk in frames[:, 1:].split([1, 2], 1):
        output, state = model.step(state, chunk)
        result, held = other.step(held, chunk.numpy())
        ours.append(output.detach())
        theirs.append(result)
    close(torch.cat(ours, 1), wanted, "torch's loop")
    close(tf.concat(theirs, 1), wanted, "TensorFlow's loop")


def test_feedback_of_more_than_the_body_makes_is_refused() -> None:
    with pytest.raises(InvalidError, match="5 features or more"):
        fed_back(*LINEAR, features=5)


def test_what_a_loop_does_not_keep_is_not_known_outside() -> None:
    with pytest.raises(InvalidError, match="there is no value 'made'"):
        fed_back(*LINEAR, keep=())


@pytest.mark.parametrize("options", FORMS)
def test_its_onnx_graph_takes_any_time_and_lengths(options: dict[str, Any], tmp_path: Path) -> None:
    model = build(described(**options)).eval()
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    shapes = (({0: batch, 1: time}, {0: batch}),)
    example = (torch.randn(2, 7, 5), torch.tensor([7, 4]))
    path, names = tmp_path / "lstm.onnx", ["frames", "lengths"]
    torch.onnx.export(model, example, path, dynamo=True, verbose=False, input_names=names, dynamic_shapes=shapes)
    session = onnxruntime.InferenceSession(path)
    for lengths in (torch.tensor([3]), torch.tensor([12, 9, 1])):
        frames = torch.randn(len(lengths), int(lengths.max()), 5)
        (got,) = session.run(None, {"frames": frames.numpy(), "lengths": lengths.numpy()})
        close(got, model(frames, lengths).detach(), f"{len(lengths)} samples")

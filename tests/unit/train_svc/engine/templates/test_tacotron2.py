from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
import torch

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_parity, close, pair

Array = npt.NDArray[Any]
SMALL: dict[str, Any] = {
    "vocab_size": 20, "features": 6, "d_model": 8, "num_layers": 2, "prenet_dim": 7, "rnn_dim": 10, "attention_dim": 5,
    "postnet_layers": 2, "postnet_dim": 9,
}  # fmt: skip
STILL: dict[str, Any] = {"dropout": 0.0, "rnn_dropout": 0.0, "prenet_dropout": 0.0}
ATTENTIONS = ["location_sensitive", "dynamic_convolution"]
LOOK = "aligned.body.looked.look.attention"


def small(attention: str = "location_sensitive") -> Description:
    return describe("tacotron2", attention=attention, **SMALL, **STILL)


def given() -> dict[str, torch.Tensor]:
    return {
        "tokens": torch.randint(0, 20, (2, 9)),
        "frames": torch.randn(2, 5, 6),
        "lengths": torch.tensor([9, 6]),
        "frame_lengths": torch.tensor([5, 4]),
    }


def test_published_parameter_count() -> None:
    assert describe("Tacotron 2", size="base").root.parameter_count == 28_193_153


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_both_engines_agree(attention: str, tmp_path: Path) -> None:
    check_parity(small(attention), tmp_path, symbols=9, time=5)


def test_the_decoder_is_the_papers_frame_by_frame() -> None:
    model = build(small()).eval()
    inputs = given()
    with torch.no_grad():
        found = model(**inputs)
        memory = model.encode(inputs["tokens"], lengths=inputs["lengths"])["encoded"]
    own = {name.removeprefix("decoder."): tensor.numpy() for name, tensor in model.state_dict().items()}
    for sample, length in enumerate((9, 6)):
        mel, gate, weights = plain_decoder(own, inputs["frames"][sample].numpy(), memory[sample, :length].numpy())
        close(found["mel"][sample], mel, "mel")
        close(found["gate"][sample], gate, "gate")
        close(found["alignments"][sample, :, :length], weights, "alignments")


def plain_decoder(own: dict[str, Array], frames: Array, memory: Array) -> tuple[Array, Array, Array]:
    last, total, context = np.zeros(len(memory)), np.zeros(len(memory)), np.zeros(8)
    hearing, speaking = (np.zeros(10), np.zeros(10)), (np.zeros(10), np.zeros(10))
    mels, gates, weights = [], [], []
    for frame in (np.zeros(6), *frames[:-1]):
        x = np.maximum(own["prenet.weight"] @ frame, 0)
        x = np.maximum(own["prenet_2.weight"] @ x, 0)
        hearing = lstm_cell(own, "aligned.body.lstm", np.concatenate((x, context)), *hearing)
        last = look(own, hearing[0], memory, last, total)
        total, context = total + last, last @ memory
        speaking = lstm_cell(own, "spoken.recurrent.lstm", np.concatenate((hearing[0], context)), *speaking)
        spoken = np.concatenate((speaking[0], context))
        mels.append(own["mel.weight"] @ spoken + own["mel.bias"])
        gates.append(own["gate.weight"] @ spoken + own["gate.bias"])
        weights.append(last)
    return np.stack(mels), np.stack(gates), np.stack(weights)


def lstm_cell(own: dict[str, Array], name: str, x: Array, hidden: Array, cell: Array) -> tuple[Array, Array]:
    gates = own[f"{name}.weight_ih_l0"] @ x + own[f"{name}.weight_hh_l0"] @ hidden
    enter, forget, new, leave = np.split(gates + own[f"{name}.bias_ih_l0"] + own[f"{name}.bias_hh_l0"], 4)
    cell = cell / (1 + np.exp(-forget)) + np.tanh(new) / (1 + np.exp(-enter))
    return np.tanh(cell) / (1 + np.exp(-leave)), cell


def look(own: dict[str, Array], query: Array, memory: Array, last: Array, total: Array) -> Array:
    padded = np.pad(np.stack((last, total)), ((0, 0), (15, 15)))
    places = np.stack([padded[:, place : place + 31] for place in range(len(memory))])
    location = np.einsum("fck,nck->nf", own[f"{LOOK}.location.weight"], places) @ own[f"{LOOK}.spread.weight"].T
    inner = own[f"{LOOK}.query.weight"] @ query + memory @ own[f"{LOOK}.key.weight"].T + location
    energies: Array = np.exp(np.tanh(inner) @ own[f"{LOOK}.score.weight"][0])
    weights: Array = energies / energies.sum()
    return weights


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_synthesis_frame_by_frame_equals_teacher_forcing_on_what_it_made(attention: str, tmp_path: Path) -> None:
    model, other = pair(small(attention), tmp_path)
    inputs = {name: tensor for name, tensor in given().items() if name in ("tokens", "lengths")}
    model.eval()
    frame, made = torch.zeros(2, 1, 6), []
    with torch.no_grad():
        state = model.initial_state(2, part="decoder", **model.encode(**inputs))
        for _ in range(4):
            result, state = model.step(state, frame, part="decoder")
            frame = result["mel"]
            made.append(result)
        mel = torch.cat([each["mel"] for each in made], 1)
        wanted = model(**inputs, frames=mel)
        refined = model.encode(mel, part="postnet")["mel_postnet"]
    for name in ("mel", "gate", "alignments"):
        close(torch.cat([each[name] for each in made], 1), wanted[name], f"torch's {name}")
    close(refined, wanted["mel_postnet"], "the postnet by itself")
    step, found = tf.function(lambda held, frame: other.step(held, frame, part="decoder")), []
    held = other.initial_state(2, part="decoder", **other.encode({name: x.numpy() for name, x in inputs.items()}))
    answer: dict[str, Any] = {"mel": np.zeros((2, 1, 6), np.float32)}
    for _ in range(4):
        answer, held = step(held, answer["mel"])
        found.append(answer)
    for name in ("mel", "gate", "alignments"):
        close(tf.concat([each[name] for each in found], 1), wanted[name], f"TensorFlow's {name}")


def test_padding_changes_nothing_of_what_is_real() -> None:
    model = build(small()).eval()
    inputs = given()
    with torch.no_grad():
        both = model(**inputs)
        alone = model(inputs["tokens"][1:, :6], inputs["frames"][1:, :4])
    for name, cut in (("mel", 6), ("mel_postnet", 6), ("gate", 1), ("alignments", 6)):
        close(both[name][1:, :4, :cut], alone[name], name)


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_the_prenet_drops_in_use_too(engine: Any) -> None:
    model = build(describe("tacotron2", **SMALL, **{**STILL, "prenet_dropout": 0.5}), engine=engine)
    inputs: Any = given() if engine == "torch" else {name: tensor.numpy() for name, tensor in given().items()}
    if engine == "torch":
        first, second = (model.eval()(**inputs)["mel"].detach().numpy() for _ in range(2))
    else:
        first, second = (np.asarray(model(inputs)["mel"]) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description, Input
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.architecture.blocks.elementwise import LogSoftmax
from services.train_svc.engine.architecture.blocks.linear import Embedding
from services.train_svc.engine.architecture.blocks.recurrent import Lstm
from services.train_svc.engine.architecture.blocks.transducer import Joiner, StartToken
from tests.unit.train_svc.engine.parity import check_parity, close, pair


def transducer(activation: Literal["relu", "tanh"] = "tanh", labels: int = 6) -> Description:
    predictor = (StartToken(token=4), Embedding(vocab_size=9, features=5), Lstm(hidden_size=labels))
    joiner = Joiner(labels="predicted", vocab_size=9, activation=activation)
    return Description(
        name="transducer",
        inputs={
            "frames": Input(shape=("time", 5)),
            "targets": Input(shape=("count",), dtype="int64", below=9),
            "target_lengths": Input(shape=(), dtype="int64", lengths_of="targets"),
        },
        typical={"time": 7, "count": 4},
        body=(
            Part(name="encoder", input="frames", output="encoded", body=(Lstm(hidden_size=6),)),
            Part(name="predictor", input="targets", lengths="target_lengths", output="predicted", body=predictor),
            Part(name="join", input="encoded", body=(joiner, LogSoftmax())),
        ),
    )


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_both_engines_agree(activation: Literal["relu", "tanh"], tmp_path: Path) -> None:
    check_parity(transducer(activation), tmp_path, time=7, count=4)


def test_every_frame_meets_every_label_and_the_start_token(tmp_path: Path) -> None:
    model, other = pair(transducer(), tmp_path)
    frames, targets = torch.randn(2, 7, 5), torch.randint(0, 9, (2, 4))
    with torch.no_grad():
        scores = model(frames, targets)
        started = torch.cat((torch.full((2, 1), 4), targets), 1)
        encoded, _ = model.step(model.initial_state(2, part="encoder"), frames, part="encoder")
        predicted, _ = model.step(model.initial_state(2, part="predictor"), started, part="predictor")
        joined, _ = model.step({}, encoded, predicted=predicted, part="join")
    linear = model.join.joiner.linear
    wanted = np.empty((2, 7, 5, 9), np.float32)
    for sample, frame, label in np.ndindex(2, 7, 5):
        each = linear(torch.tanh(encoded[sample, frame] + predicted[sample, label]))
        wanted[sample, frame, label] = each.log_softmax(-1).detach().numpy()
    close(scores, wanted, "the whole")
    close(joined, wanted, "the parts by themselves")
    again, _ = other.step({}, {"encoded": encoded.numpy(), "predicted": predicted.numpy()}, part="join")
    close(again, wanted, "TensorFlow's part by itself")


def test_frames_and_labels_must_be_as_wide() -> None:
    with pytest.raises(InvalidError, match=r"frames are \[\?, 6\] and labels \[\?, 7\]"):
        transducer(labels=7)

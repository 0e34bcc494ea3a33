"""Frames that come out, against the models themselves."""

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.context import Context
from services.train_svc.engine.speech.frames import FrameCount
from services.train_svc.engine.templates import describe

SMALL = {"num_layers": 2, "d_model": 8, "attention_heads": 2, "kernel_size": 5}
CONFORMER = describe("conformer", features=8, encoder=SMALL, decoder={"type": "ctc", "vocab_size": 7})
U2PP = describe("u2pp_conformer", features=8, encoder={**SMALL, "feed_forward": 8, "chunk_size": 4},
                decoder={"vocab_size": 7, "num_layers": 0, "reverse_layers": 0})  # fmt: skip


@pytest.mark.parametrize("description", [CONFORMER, U2PP], ids=lambda each: each.name)
def test_it_is_what_the_model_gives_at_every_length(description: Description) -> None:
    model, count = build(description).eval(), FrameCount(description)
    for frames in [*range(4, 40), 63, 64, 65, 200]:
        with torch.no_grad():
            given = model(torch.zeros(1, frames, 8))
        assert count(frames) == (given["ctc"] if isinstance(given, dict) else given).shape[1], frames


@pytest.mark.parametrize("description", [CONFORMER, U2PP], ids=lambda each: each.name)
def test_it_is_what_the_model_takes_for_a_padded_samples_length(
    description: Description, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = torch.arange(4, 70)
    seen: list[torch.Tensor] = []
    leave = Context.leave

    def noted(self: Context, part: object, x: torch.Tensor) -> torch.Tensor:
        seen.append(self.lengths)
        result: torch.Tensor = leave(self, part, x)
        return result

    monkeypatch.setattr(Context, "leave", noted)
    with torch.no_grad():
        build(description).eval()(torch.zeros(len(lengths), 70, 8), lengths)
    count = FrameCount(description)
    assert seen[-1].tolist() == [count(int(length)) for length in lengths]


def test_a_deep_model_counts_as_its_full_description_does() -> None:
    deep = describe("conformer", decoder={"type": "ctc"})
    count = FrameCount(deep)
    for frames in (1, 57, 400, 1234):
        assert count(frames) == deep.resolve({"time": frames}).output_shape[0]


def test_least_is_the_fewest_that_are_enough() -> None:
    for description in (CONFORMER, U2PP):
        count = FrameCount(description)
        for wanted in (1, 2, 5, 31):
            least = count.least(wanted)
            assert count(least) >= wanted > count(least - 1)


def test_too_few_frames_for_the_model_give_none() -> None:
    assert FrameCount(U2PP)(1) == 0
    assert FrameCount(CONFORMER)(0) == 0


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("tacotron2", "has the outputs mel, mel_postnet, gate, alignments, and none is named ctc"),
        ("resnet_small", r"wanted \[time, features\]"),
    ],
)
def test_a_model_of_something_else_is_refused(template: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        FrameCount(describe(template))


def test_counts_are_plain_numbers() -> None:
    assert type(FrameCount(CONFORMER)(int(np.int64(30)))) is int

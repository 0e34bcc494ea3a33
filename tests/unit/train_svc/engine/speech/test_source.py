import logging
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.common.preprocess import Preprocess
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.batch import Batch, Evaluated, Source
from services.train_svc.engine.spec import MaskSpec
from services.train_svc.engine.speech.recordings import Recordings
from services.train_svc.engine.speech.source import SpeechEvaluation, SpeechSource
from services.train_svc.engine.speech.speed import change_speed
from services.train_svc.engine.speech.tokens import Vocabulary
from services.train_svc.engine.speech.utterance import Utterance
from services.train_svc.engine.templates import describe

MASK = MaskSpec(frequency_masks=1, frequency_width=4, time_masks=1, time_width=30)


@pytest.fixture
def make(utterances: list[Utterance], preprocess: Preprocess, vocabulary: Vocabulary, description: Description) -> Any:
    def source(these: list[Utterance] | None = None, memory_bytes: int = 1 << 20, **options: Any) -> SpeechSource:
        recordings = Recordings(these or utterances, preprocess, memory_bytes)
        return SpeechSource(recordings, vocabulary, description, **{"batch_size": 8, "seed": 5, **options})

    return source


def equal(one: Batch, other: Batch) -> bool:
    pairs = [(part[name], again[name]) for part, again in ((one.inputs, other.inputs), (one.targets, other.targets))
             for name in part]  # fmt: skip
    return one.ids == other.ids and all(np.array_equal(first, second) for first, second in pairs)


def test_a_batch_holds_features_lengths_and_labels_of_its_utterances(
    make: Any, utterances: list[Utterance], preprocess: Preprocess, vocabulary: Vocabulary
) -> None:
    batch, by_id = make(speeds=(1,)).at(2), {each.id: each for each in utterances}
    features, lengths = batch.inputs["features"], batch.inputs["lengths"]
    assert (features.dtype, lengths.dtype, batch.targets["labels"].dtype) == (np.float32, np.int64, np.int64)
    assert features.shape[1] % 32 == 0
    for row, name in enumerate(batch.ids):
        wanted = preprocess.one(by_id[name].audio)
        np.testing.assert_array_equal(features[row, : lengths[row]], wanted)
        assert not features[row, lengths[row] :].any()
        count = batch.targets["label_lengths"][row]
        assert vocabulary.decode(batch.targets["labels"][row, :count]) == by_id[name].text
        assert (batch.targets["labels"][row, count:] == -100).all()
        # Two convolutions of stride 2, padded by 1.
        assert batch.targets["frame_lengths"][row] == ((lengths[row] + 1) // 2 + 1) // 2


def test_batch_k_can_be_made_again_alone(make: Any) -> None:
    first, again = make(mask=MASK), make(mask=MASK, memory_bytes=0)
    batches = [first.at(step) for step in range(20)]
    for step in (19, 3, 11, 3):
        assert equal(again.at(step), batches[step])


def test_masks_are_drawn_anew_each_epoch_and_leave_kept_features_alone(make: Any) -> None:
    source = make(mask=MASK, speeds=(1,), batch_size=50)
    plain = make(speeds=(1,), batch_size=50)
    patterns = {}
    for step in (0, 1):
        batch, whole = source.at(step), plain.at(step)
        assert batch.ids == whole.ids
        changed = batch.inputs["features"] != whole.inputs["features"]
        assert not batch.inputs["features"][changed].any()
        patterns[step] = dict(zip(batch.ids, changed, strict=True))
    differing = [name for name in patterns[0] if not np.array_equal(patterns[0][name], patterns[1][name])]
    assert len(differing) > 40
    assert equal(plain.at(0), make(speeds=(1,), batch_size=50).at(0))


def test_each_utterance_gets_a_speed_of_its_own_each_epoch(
    make: Any, utterances: list[Utterance], preprocess: Preprocess
) -> None:
    source, by_id = make(batch_size=50), {each.id: each for each in utterances}
    drawn: dict[str, list[float]] = {}
    for step in range(6):
        batch = source.at(step)
        for name, row, length in zip(batch.ids, batch.inputs["features"], batch.inputs["lengths"], strict=True):
            wave = by_id[name].audio
            assert isinstance(wave, np.ndarray)
            fitting = [speed for speed in (0.9, 1.0, 1.1)
                       if np.array_equal(preprocess.one(change_speed(wave, speed)), row[:length])]  # fmt: skip
            drawn.setdefault(name, []).extend(fitting)
    assert all(len(speeds) == 6 for speeds in drawn.values())
    counts = np.unique([speed for speeds in drawn.values() for speed in speeds], return_counts=True)[1]
    assert counts.min() > 60
    assert sum(len(set(speeds)) > 1 for speeds in drawn.values()) > 45


def test_batches_are_of_similar_lengths_at_the_speeds_drawn(make: Any) -> None:
    source = make()
    for step in range(source.steps_per_epoch):
        lengths = source.at(step).inputs["lengths"]
        assert (np.diff(lengths) >= 0).all()
        assert lengths.max() - lengths.min() < 50


def test_the_seed_and_the_data_decide(make: Any, utterances: list[Utterance]) -> None:
    assert make(seed=5).at(0).ids == make(seed=5).at(0).ids != make(seed=6).at(0).ids
    other = [replace(utterances[0], text="stop go"), *utterances[1:]]
    assert make().digest == make().digest != make(other).digest
    assert make(speeds=(1,)).digest != make().digest != make(batch_size=4).digest


def test_it_is_a_source_and_an_evaluation(make: Any, utterances: list[Utterance], preprocess: Preprocess,
                                          vocabulary: Vocabulary, description: Description) -> None:  # fmt: skip
    source: Source = make()
    assert source.steps_per_epoch == 6
    evaluated: Evaluated = SpeechEvaluation(Recordings(utterances, preprocess), vocabulary, description, batch_size=16)
    batches, again = list(evaluated), list(evaluated)
    assert all(equal(one, other) for one, other in zip(batches, again, strict=True))
    assert [len(batch) for batch in batches] == [16, 16, 16, 2]
    assert sorted(name for batch in batches for name in batch.ids) == [each.id for each in utterances]
    lengths = np.concatenate([batch.inputs["lengths"] for batch in batches])
    assert (np.diff(lengths) <= 0).all()


def test_what_is_too_short_for_its_text_is_left_out_with_one_warning(
    make: Any, utterances: list[Utterance], caplog: pytest.LogCaptureFixture
) -> None:
    # 0.4 s are 38 frames, of which 10 come out; 13 characters and 2 repeats need 15.
    long = [replace(each, text="hello hello go") for each in utterances[:2]]
    short = [replace(each, audio=each.audio[:6400]) for each in long]  # type: ignore[index]  # an array
    with caplog.at_level(logging.WARNING):
        source = make([*short, *utterances[2:]], batch_size=48)
    assert caplog.messages == ["2 utterances are left out: too short for their text, such as u000"]
    assert not {"u000", "u001"} & set(source.at(0).ids)


def test_every_path_that_is_kept_fits(make: Any) -> None:
    source = make(batch_size=50)
    for step in range(3):
        targets = source.at(step).targets
        for label, frames, count in zip(
            *(targets[n] for n in ("labels", "frame_lengths", "label_lengths")), strict=True
        ):
            own = label[:count]
            assert count + (own[1:] == own[:-1]).sum() <= frames


def test_pieces_of_a_batch_hold_their_rows(make: Any) -> None:
    batch = make().at(0)
    pieces = list(batch.pieces(2))
    assert [len(piece) for piece in pieces] == [4, 4]
    assert [*pieces[0].ids, *pieces[1].ids] == list(batch.ids)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"audio": np.zeros(300, np.float32)}, "u000: has 300 samples, less than a frame of 400"),
        ({"text": "..."}, "u000: has no text"),
        ({"id": "u001"}, "two utterances of the id 'u001'"),
        ({"audio": b"no recording"}, "u000: is no recording"),
        ({"audio": b"no recording", "samples": 9000}, "u000: not a recording"),
        ({"audio": np.zeros((2, 9000), np.float32), "samples": 9000}, r"u000: has shape \[2, 9000\]"),
    ],
)
def test_an_utterance_that_cannot_be_is_named(
    changed: dict[str, Any], message: str, make: Any, utterances: list[Utterance]
) -> None:
    with pytest.raises(InvalidError, match=message):
        make([replace(utterances[0], **changed), *utterances[1:]], batch_size=50).at(0)


def test_what_gives_pcm_when_called_is_audio_too(make: Any, utterances: list[Utterance]) -> None:
    called = [replace(each, audio=partial(np.copy, each.audio)) for each in utterances]
    assert equal(make(called).at(1), make().at(1))


@pytest.mark.parametrize("speeds", [(), (0.1,), (1, 3)])
def test_speeds_that_cannot_be_are_refused(speeds: tuple[float, ...], make: Any) -> None:
    with pytest.raises(InvalidError, match="speeds"):
        make(speeds=speeds)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["none"], "begins with decode_audio and log_mel"),
        (["decode_audio"], "begins with decode_audio and log_mel"),
        ([{"decode_audio": {"sample_rate": 8000}}, "log_mel"], "8000 Hz and log_mel takes 16000"),
    ],
)
def test_another_preprocessing_is_refused(steps: list[Any], message: str, utterances: list[Utterance]) -> None:
    with pytest.raises(InvalidError, match=message):
        Recordings(utterances, Preprocess(steps))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (describe("conformer", features=8, decoder={"type": "ctc", "vocab_size": 999}), r"gives \[None, 999\], wanted"),
        (describe("conformer", features=8), "takes targets too"),
    ],
    ids=["another vocabulary", "transducer"],
)
def test_a_model_of_something_else_is_refused(
    model: Description, message: str, utterances: list[Utterance], preprocess: Preprocess, vocabulary: Vocabulary
) -> None:
    with pytest.raises(InvalidError, match=message):
        SpeechEvaluation(Recordings(utterances, preprocess), vocabulary, model, batch_size=4)


def test_no_engine_is_loaded() -> None:
    import subprocess
    import sys

    code = "import services.train_svc.engine.speech.corpus, services.train_svc.engine.speech.folder, sys;"
    code += "sys.exit('torch' in sys.modules or 'tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

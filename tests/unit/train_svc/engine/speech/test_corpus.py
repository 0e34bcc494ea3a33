from dataclasses import replace

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.speech.corpus import SpeechCorpus
from services.train_svc.engine.speech.utterance import Utterance


@pytest.fixture(scope="module")
def corpus(utterances: list[Utterance]) -> SpeechCorpus:
    splits = {"train": utterances[:40], "validation": utterances[40:45], "test": utterances[45:]}
    return SpeechCorpus.of(splits, mel_bins=8)


def test_the_train_splits_features_have_mean_zero_and_spread_one(corpus: SpeechCorpus) -> None:
    features = np.concatenate([corpus.splits["train"].features(index) for index in range(40)])
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(0), 1, atol=1e-4)


def test_preprocessing_goes_into_a_package_and_comes_back_the_same(
    corpus: SpeechCorpus, utterances: list[Utterance]
) -> None:
    again = type(corpus.preprocess).parse(corpus.preprocess.dump())
    np.testing.assert_array_equal(again.one(utterances[45].audio), corpus.splits["test"].features(0))


def test_the_train_split_is_learnt_and_the_validation_split_evaluated(
    corpus: SpeechCorpus, description: Description
) -> None:
    data = corpus.data(description, batch_size=4)
    assert {name for step in range(data.train.steps_per_epoch) for name in data.train.at(step).ids} == {
        f"u{n:03}" for n in range(40)
    }
    assert data.validation is not None
    assert {name for batch in data.validation for name in batch.ids} == {f"u{n:03}" for n in range(40, 45)}
    assert len(corpus.evaluated("test", description, batch_size=4)) == 2


def test_a_band_that_never_changes_is_not_divided_by_zero(utterances: list[Utterance]) -> None:
    silent = [replace(each, audio=np.zeros(8000, np.float32)) for each in utterances[:3]]
    assert np.isfinite(SpeechCorpus.of({"train": silent}, mel_bins=8).splits["train"].features(0)).all()


def test_characters_of_other_splits_stay_unknown(utterances: list[Utterance]) -> None:
    splits = {"train": [replace(utterances[0], text="go")], "test": [replace(utterances[1], text="gone")]}
    assert SpeechCorpus.of(splits, mel_bins=8).vocabulary.to_list() == ["<blank>", "<unk>", "g", "o"]


def test_a_corpus_needs_a_train_split(
    utterances: list[Utterance], corpus: SpeechCorpus, description: Description
) -> None:
    with pytest.raises(InvalidError, match="has the splits test; 'train' is needed"):
        SpeechCorpus.of({"test": utterances})
    with pytest.raises(InvalidError, match="there is no 'tset'; there are train, validation, test"):
        corpus.evaluated("tset", description, batch_size=4)

"""Against edit distances by plain dynamic programming, and jiwer on the whole."""

import itertools
import math

import jiwer
import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.metrics import build_metrics
from services.train_svc.engine.metrics.speech import ErrorRates
from services.train_svc.engine.metrics.transcripts import read_attention, read_ctc, read_transducer, references
from services.train_svc.engine.spec import LossSpec

CTC = LossSpec(name="ctc")
SAID = ["打开 the light", "今天天气好", "play some music", "关灯"]
HEARD = ["打开 a light", "今天气很好", "play music", "关灯"]


class Letters:
    """Tokens of single characters; 0 is the blank, the last one the end."""

    def __init__(self, text: str) -> None:
        self.known = "-" + "".join(sorted(set(text))) + "$"

    def encode(self, text: str) -> list[int]:
        return [self.known.index(each) for each in text]

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.known[token] for token in tokens)


def distance(said: list[str], heard: list[str]) -> int:
    table = np.zeros((len(said) + 1, len(heard) + 1), int)
    table[:, 0], table[0] = range(len(said) + 1), range(len(heard) + 1)
    for row, column in itertools.product(range(len(said)), range(len(heard))):
        replaced = table[row, column] + (said[row] != heard[column])
        table[row + 1, column + 1] = min(replaced, table[row, column + 1] + 1, table[row + 1, column] + 1)
    return int(table[-1, -1])


def ignore_outputs(*_: object) -> list[list[int]]:
    raise AssertionError("text is given")


def rates(said: list[str], heard: list[str], **options: bool) -> dict[str, float]:
    metric = ErrorRates(ignore_outputs, Letters(""), **options)
    for start in range(0, len(said), 3):
        metric.count_text(said[start : start + 3], heard[start : start + 3])
    return metric.result()


def test_the_character_error_rate_is_that_of_the_edit_distances() -> None:
    said, heard = [["今天天气好", "开灯"], ["今天气很好", "关灯"]]
    edits = sum(distance(list(a), list(b)) for a, b in zip(said, heard, strict=True))
    assert rates(said, heard)["cer"] == edits / 7


def test_character_and_word_error_rates_of_english_are_jiwers() -> None:
    said, heard = ["play some music", "the cat sat"], ["play music", "a cat sat down"]
    found = rates(said, heard)
    assert found["cer"] == pytest.approx(jiwer.cer(said, heard))
    assert found["wer"] == pytest.approx(jiwer.wer(said, heard))


def test_the_mixed_error_rate_counts_han_characters_and_words_and_both_apart() -> None:
    found = rates(SAID, HEARD)
    # Said: 打 开 the light | 5 Han | 3 words | 2 Han. Wrong: the; 天 is missing, 很 is too many; some is missing.
    assert found["mer"] == pytest.approx(4 / 14)
    assert found["mer_zh"] == pytest.approx(2 / 9)
    assert found["mer_en"] == pytest.approx(2 / 5)


def test_the_mixed_error_rate_is_not_jiwers_match_error_rate() -> None:
    said, heard = ["a b"], ["a b c d"]
    assert rates(said, heard)["mer"] == 1.0
    assert jiwer.mer(said, heard) == 0.5


def test_both_parts_together_are_the_whole() -> None:
    random = np.random.default_rng(0)
    said, heard = ([" ".join(random.choice(list("ab开灯"), 6)) for _ in range(20)] for _ in range(2))
    found = rates(said, heard)
    of_han = sum(text.count("开") + text.count("灯") for text in said)
    whole = sum(distance(a.split(), b.split()) for a, b in zip(said, heard, strict=True)) / 120
    assert found["mer"] == pytest.approx(whole)
    assert found["mer_zh"] * of_han + found["mer_en"] * (120 - of_han) == pytest.approx(120 * whole)


def test_case_and_width_count_for_nothing_unless_told() -> None:
    assert rates(["ＯＫ google"], ["ok Google"])["cer"] == 0
    assert rates(["ok google"], ["ok Google"], lower=False)["cer"] == pytest.approx(1 / 9)


def test_the_interval_of_the_character_error_rate_is_over_utterances() -> None:
    found = rates(SAID * 20, HEARD * 20)
    assert 0 < found["cer_ci_low"] < found["cer"] < found["cer_ci_high"] < 1
    assert rates(SAID * 20, HEARD * 20) == found


def test_a_language_that_was_never_said_has_no_rate() -> None:
    assert set(rates(["关灯"], ["开灯 now"])) == {"cer", "cer_ci_low", "cer_ci_high", "wer", "mer", "mer_zh"}
    assert rates([""], ["a"]) == {}


def test_ctc_scores_are_read_along_the_best_path() -> None:
    best = np.array([[1, 1, 0, 1, 2, 2], [2, 0, 0, 2, 3, 3]])
    scores = {"ctc": np.eye(4)[best], "logits": np.zeros((2, 1, 4))}
    assert read_ctc(CTC, scores, {"frame_lengths": np.array([6, 4])}) == [[1, 1, 2], [2, 2]]
    assert read_ctc(LossSpec(name="ctc", blank=3), scores, {}) == [[1, 0, 1, 2], [2, 0, 2]]


def test_frames_that_the_scores_lack_are_named() -> None:
    with pytest.raises(InvalidError, match="a recording has 9 frames, but the scores only 6"):
        read_ctc(CTC, {"ctc": np.zeros((1, 6, 4))}, {"frame_lengths": np.array([9])})


def test_attention_scores_are_read_up_to_the_end_of_the_sentence() -> None:
    best = np.array([[1, 2, 4, 1], [1, 4, 2, 3], [1, 2, 3, 3]])
    targets = {"labels": np.full((3, 3), 1), "label_lengths": np.array([2, 2, 3])}
    assert read_attention(LossSpec(name="attention"), {"logits": np.eye(5)[best]}, targets) == [
        [1, 2],
        [1],
        [1, 2, 3, 3],
    ]


def test_a_transducers_lattice_is_walked_greedily() -> None:
    best = np.zeros((1, 3, 3), int)
    best[0, 0, 0], best[0, 1, 1], best[0, 2, 2] = 1, 2, 3
    targets = {"labels": np.array([[1, 2]]), "label_lengths": np.array([2]), "frame_lengths": np.array([3])}
    loss, outputs = LossSpec(name="rnnt"), {"output": np.eye(4)[best]}
    assert read_transducer(loss, outputs, targets) == [[1, 2, 3]]
    assert read_transducer(loss, outputs, {**targets, "frame_lengths": np.array([2])}) == [[1, 2]]


def test_references_end_where_their_lengths_say() -> None:
    labels = np.array([[1, 2, 3], [4, -100, -100]])
    assert references({"labels": labels}) == [[1, 2, 3], [4]]
    assert references({"labels": labels, "label_lengths": np.array([2, 1])}) == [[1, 2], [4]]


@pytest.mark.parametrize("with_vocabulary", [True, False])
def test_a_ctc_model_is_measured_from_scores_to_rates(with_vocabulary: bool) -> None:
    letters = Letters("".join(SAID + HEARD))
    said, heard = ([letters.encode(text.replace(" ", "")) for text in part] for part in (SAID, HEARD))
    frames = [list(itertools.chain.from_iterable((token, 0) for token in row)) for row in heard]
    longest, longest_label = max(map(len, frames)), max(map(len, said))
    best = np.array([row + [0] * (longest - len(row)) for row in frames])
    labels = np.array([row + [-100] * (longest_label - len(row)) for row in said])
    (metric,) = build_metrics(LossSpec(name="ctc"), classes=None, vocabulary=letters if with_vocabulary else None)
    metric.update({"ctc": np.eye(len(letters.known))[best]}, {"labels": labels})
    edits = sum(distance(list(map(str, a)), list(map(str, b))) for a, b in zip(said, heard, strict=True))
    found = metric.result()
    assert math.isclose(found["cer"], edits / sum(map(len, said)))
    assert ("mer_zh" in found) == with_vocabulary

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.speech.tokens import BLANK, SPACE, UNKNOWN, Vocabulary, plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Turn ON  the light.", "turn on the light"),
        ("打开 灯", "打开灯"),
        (" 播放 Hello World 音乐 ", "播放hello world音乐"),
        ("ＢＰＯ 公司", "bpo公司"),
        ("what’s up?", "what's up"),
        ("'quoted' - words", "quoted words"),
        ("打开，窗户。", "打开窗户"),
        ("room 2", "room 2"),
        ("naïve café", "naïve café"),
        ("。、!", ""),
    ],
)
def test_texts_are_compared_in_plain_form(text: str, plain: str) -> None:
    assert plain_text(text) == plain
    assert plain_text(plain) == plain


def test_characters_are_numbered_the_same_whatever_the_order_of_the_texts() -> None:
    texts = ["go on", "打开", "GO 上"]
    vocabulary = Vocabulary.of(texts)
    assert vocabulary.to_list() == [BLANK, UNKNOWN, SPACE, "g", "n", "o", "上", "开", "打"]
    assert Vocabulary.of(reversed(texts)) == vocabulary
    assert len(vocabulary) == 9


@pytest.mark.parametrize("text", ["turn on the light", "打开灯", "播放hello world音乐"])
def test_what_is_encoded_is_decoded(text: str) -> None:
    vocabulary = Vocabulary.of([text])
    ids = vocabulary.encode(text.upper())
    assert ids.dtype == np.int64
    assert ids.min() >= 2
    assert vocabulary.decode(ids) == text


def test_unknown_characters_are_marked_and_blanks_left_out() -> None:
    vocabulary = Vocabulary.of(["abc"])
    assert vocabulary.encode("axc").tolist() == [2, 1, 4]
    assert vocabulary.decode([0, 2, 0, 0, 1, 4, 0]) == f"a{UNKNOWN}c"


def test_a_packages_labels_give_the_vocabulary_back() -> None:
    vocabulary = Vocabulary.of(["go on", "打开"])
    assert Vocabulary.from_list(vocabulary.to_list()) == vocabulary


@pytest.mark.parametrize(
    "labels",
    [
        [],
        ["a", "b"],
        [UNKNOWN, BLANK, "a"],
        [BLANK, UNKNOWN, "ab"],
        [BLANK, UNKNOWN, "a", "a"],
        [BLANK, UNKNOWN, BLANK],
    ],
)
def test_labels_that_are_no_vocabulary_are_refused(labels: list[str]) -> None:
    with pytest.raises(InvalidError, match="labels"):
        Vocabulary.from_list(labels)


def test_ids_beyond_the_vocabulary_are_refused() -> None:
    with pytest.raises(InvalidError, match="hold 5, wanted 0 to 4"):
        Vocabulary.of(["abc"]).decode([2, 5])


def test_texts_without_letters_are_refused() -> None:
    with pytest.raises(InvalidError, match="transcripts"):
        Vocabulary.of(["", "..."])

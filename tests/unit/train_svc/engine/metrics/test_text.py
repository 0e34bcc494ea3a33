import pytest

from services.train_svc.engine.metrics.text import characters, is_han, mixed_tokens, normalized


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ＡＢＣ　１２３", "abc 123"),
        ("  Open \t the\n door ", "open the door"),
        ("cafe\u0301", "café"),
        ("ﬁne", "fine"),
        ("，", ","),
    ],
)
def test_writings_of_the_same_text_become_one(text: str, expected: str) -> None:
    assert normalized(text) == expected


def test_case_is_kept_where_it_counts() -> None:
    assert normalized("Ａb", lower=False) == "Ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("打开 灯", ["打", "开", "灯"]),
        ("打开 the light", ["打", "开", *"the light"]),
        ("a b", ["a", " ", "b"]),
        ("", []),
    ],
)
def test_spaces_beside_han_characters_are_layout(text: str, expected: list[str]) -> None:
    assert characters(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("请打开wi-fi,好吗?", ["请", "打", "开", "wi", "fi", "好", "吗"]),
        ("i don't know", ["i", "don't", "know"]),
        ("i don’t 'know'", ["i", "don't", "know"]),
        ("play 五月天 2nd album", ["play", "五", "月", "天", "2nd", "album"]),
        ("二〇二六年", ["二", "〇", "二", "六", "年"]),
        ("naïve café", ["naïve", "café"]),
        ("…！' —", []),
    ],
)
def test_a_mixed_token_is_a_han_character_or_a_word(text: str, expected: list[str]) -> None:
    assert mixed_tokens(text) == expected


def test_rare_han_characters_are_han_and_kana_are_not() -> None:
    assert all(map(is_han, "一龥𠮷㐀〇"))
    assert not any(map(is_han, "aé1、。ひカ한"))

"""Documents: YAML 1.2's core types, and every fault with its line and column."""

import pytest

from gateway.lifecycles.document import LocatedViolation, Mark, parse_json, parse_yaml
from services.common.errors import InvalidError


def faults(text: str) -> list[LocatedViolation]:
    with pytest.raises(InvalidError) as caught:
        parse_yaml(text)
    return [one for one in caught.value.violations if isinstance(one, LocatedViolation)]


def test_words_and_numbers_are_read_by_yaml_1_2() -> None:
    text = "a: 1e-3\nb: on\nc: 2024-01-01\nd: 0x10\ne: digits:3\nf: 1:30\ng: ~\nh: 'true'\ni: true\nj: .5"
    value = parse_yaml(text).value
    assert value == {
        "a": 0.001,
        "b": "on",
        "c": "2024-01-01",
        "d": 16,
        "e": "digits:3",
        "f": "1:30",
        "g": None,
        "h": "true",
        "i": True,
        "j": 0.5,
    }


def test_every_value_remembers_where_it_stands() -> None:
    document = parse_yaml("train:\n  epochs: 3\n  layers: [1, 2]\n")
    assert document.marks["train", "epochs"] == Mark(line=2, column=3)
    assert document.marks["train", "layers", 1] == Mark(line=3, column=15)
    found = document.violation(("train", "optimizer", "lr"), "is missing")
    assert (found.field, found.line) == ("train.optimizer.lr", 1)


def test_all_repeated_keys_are_told_together() -> None:
    found = faults("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert [(one.field, one.line) for one in found] == [("b.c", 4), ("a", 5)]
    assert "first on line 3" in found[0].message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: !!python/object/apply:os.system ['true']", 1, "tag"),
        ("a: [1", 1, "not YAML"),
        ("x: 1\na: .nan", 2, "finite"),
        ("x: 1\na: 1e999", 2, "too large"),
        ("? [1]\n: 2", 1, "plain word"),
        ("a: 1\n--- 2", 2, "another document"),
        ("[" * 40, 1, "nests deeper"),
        ("a: &a [*a]", 1, "unfold"),
    ],
)
def test_what_is_not_read_is_told_with_its_line(text: str, line: int, words: str) -> None:
    found = faults(text)
    assert found[0].line == line
    assert words in found[0].message


def test_a_bomb_of_aliases_is_refused_without_unfolding_it() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "unfold" in faults("\n".join(lines))[0].message


@pytest.mark.parametrize("text", [b"\xff\xfe", b"a: \x00", b"a: 1" + b" " * (1 << 20), b'a: "\\U00120000"'])
def test_text_that_is_no_text_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidError):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100 + "]" * 100])
def test_json_is_read_strictly(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_json(text)

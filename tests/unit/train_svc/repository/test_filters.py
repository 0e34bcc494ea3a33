"""The filter language: what it reads, and what it says of what it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidError
from services.train_svc.repository.filters import All, Comparison, Not, Some, parse_filter, parse_order


def test_words_of_the_language_make_a_tree() -> None:
    text = "metrics.accuracy > 0.9 AND (params.lr = '0.001' or not tags.team in (\"a\", 'b')) and name not like '%x%'"
    assert parse_filter(text) == All(
        (
            Comparison("metric", "accuracy", ">", (0.9,)),
            Some(
                (
                    Comparison("param", "lr", "=", ("0.001",)),
                    Not(Comparison("tag", "team", "in", ("a", "b"))),
                )
            ),
            Not(Comparison("attribute", "name", "like", ("%x%",))),
        )
    )


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_filter_holds_for_every_run(text: str) -> None:
    assert parse_filter(text) is None


@pytest.mark.parametrize(
    ("text", "kind", "name", "literal"),
    [
        ("metric.train/loss < -1.5e-3", "metric", "train/loss", -0.0015),
        ("metrics.`a b'c` < 1", "metric", "a b'c", 1.0),
        ('params."x y" = 1.50', "param", "x y", "1.50"),
        ("params.optimizer.lr == '0.1'", "param", "optimizer.lr", "0.1"),
        (r"tags.q = 'it\'s'", "tag", "q", "it's"),
        ("created_at > '2026-01-01T00:00:00Z'", "attribute", "created_at", 1767225600.0),
    ],
)
def test_names_and_literals_are_read_as_written(text: str, kind: str, name: str, literal: object) -> None:
    node = parse_filter(text)
    assert isinstance(node, Comparison)
    assert (node.kind, node.name, node.literals) == (kind, name, (literal,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics.acc >", "position 14: expected a number to hold 'acc' against, found the end"),
        ("metrics.acc > 'x'", "position 15: expected a number"),
        ("metrics.acc like 1", "position 13: expected one of = != < <= > >= for the number 'acc'"),
        ("params.lr > 0.1", "position 11: expected one of = != like in, because 'lr' is a text"),
        ("state = 'a' state = 'b'", "position 13: expected 'and', 'or' or the end"),
        ("stat = 'a'", "position 1: .*did you mean 'state'"),
        ("metrcs.a > 1", "position 1: .*did you mean 'metrics'"),
        ("(state = 'a'", "position 13: expected '\\)'"),
        ("name = 'a", "position 8: expected"),
        ("name in 'a'", "position 9: expected '\\('"),
        ("name not = 'a'", "position 10: expected 'like' or 'in'"),
        ("name = a", "position 8: expected a text in quotes"),
        ("created_at > 'soon'", "position 14: expected a time"),
        ("name = 'a'; drop table runs", "position 11: expected"),
        ("(" * 100 + "seed = 1" + ")" * 100, "nested more than"),
        ("name = 'a\0'", "NUL"),
        ("x" * 5000, "characters"),
    ],
)
def test_an_error_names_the_place_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        parse_filter(text)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from("metrics.a params.b and or not in like ( ) , = > 1 'x' state".split())).map(" ".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidError as error:
        assert error.violations[0].field == "filter"  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ("attribute", "created_at", True)),
        ("created_at", ("attribute", "created_at", False)),
        ("metrics.train/loss DESC", ("metric", "train/loss", True)),
        ("params.lr asc", ("param", "lr", False)),
    ],
)
def test_an_order_is_a_field_and_a_direction(text: str, wanted: object) -> None:
    assert parse_order(text) == wanted


@pytest.mark.parametrize("text", ["name", "metrics.a down", "metrics.a desc desc", "desc", "metrics.a, metrics.b"])
def test_an_order_that_cannot_be_followed_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_order(text)

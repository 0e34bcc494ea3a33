"""The gate: bounds on the cards' figures, and the choice among what passes."""

from typing import Any

import pytest

from gateway.lifecycles.gate import Candidate, choose, parse_bound, read_figures
from services.common.errors import InvalidError

FP32: dict[str, Any] = {
    "metrics": {"accuracy": {"value": 0.99}},
    "size_bytes": 400,
    "latency": [{"batch": 1, "p50_ms": 2.0, "p99_ms": 4.0}],
}
INT8: dict[str, Any] = {
    "metrics": {"accuracy": {"value": 0.98}},
    "accuracy_drop": {"value": 0.01, "ci_low": 0.0, "ci_high": 0.02},
    "size_bytes": 100,
    "latency": [{"batch": 8, "p50_ms": 9.0}, {"batch": 1, "p50_ms": 1.0, "p99_ms": 3.0}],
}


def candidate(variant: str, **figures: float) -> Candidate:
    return Candidate(variant=variant, digest=f"sha256:{variant}", figures=figures)


def test_figures_are_read_flat_and_ratios_are_against_the_uncompressed_variant() -> None:
    assert read_figures(INT8, FP32) == {
        "accuracy": 0.98,
        "accuracy_drop": 0.01,
        "size_bytes": 100.0,
        "p50_ms": 1.0,
        "p99_ms": 3.0,
        "size_ratio": 0.25,
        "speedup": 2.0,
    }
    assert read_figures(FP32, FP32)["accuracy_drop"] == 0.0


def test_what_was_not_measured_is_absent() -> None:
    card = {"metrics": {"accuracy": {"value": float("nan")}}, "size_bytes": True, "latency": "fast", "speedup": "2"}
    assert read_figures(card) == {}


def test_the_fastest_of_those_that_pass_is_chosen() -> None:
    found = [
        candidate("fp32", accuracy_drop=0, p50_ms=3),
        candidate("int8", accuracy_drop=0.05, p50_ms=1),
        candidate("fp16", accuracy_drop=0.001, p50_ms=2),
    ]
    verdict = choose(found, [parse_bound("accuracy_drop <= 0.01")], "p50_ms")
    assert verdict.chosen == found[2]
    assert str(verdict.misses["int8"][0]) == "accuracy_drop <= 0.01: 0.05 misses it by 0.04"


def test_more_is_better_where_it_is() -> None:
    found = [candidate("a", accuracy=0.9), candidate("b", accuracy=0.95), candidate("c")]
    chosen = choose(found, [], "accuracy").chosen
    assert chosen == found[1]


def test_a_refusal_names_every_variant_s_bound_and_by_how_much() -> None:
    found = [candidate("fp32", p99_ms=7.5), candidate("int8")]
    verdict = choose(found, [parse_bound("p99_ms <= 5")], "p50_ms")
    assert verdict.chosen is None
    assert "fp32 (p99_ms <= 5: 7.5 misses it by 2.5)" in verdict.refusal()
    assert "int8 (p99_ms <= 5: its card has no p99_ms)" in verdict.refusal()


@pytest.mark.parametrize("text", ["accuracy", "accuracy = 1", "<= 3", "accuracy <= much", "accuracy <= 1e999", 5, None])
def test_what_is_no_bound_is_told_how_one_reads(text: object) -> None:
    with pytest.raises(InvalidError):
        parse_bound(text)


def test_an_unknown_figure_lists_the_known() -> None:
    with pytest.raises(InvalidError, match=r"acuracy.*did you mean 'accuracy'.*known are: .*speedup"):
        parse_bound("acuracy >= 0.9")

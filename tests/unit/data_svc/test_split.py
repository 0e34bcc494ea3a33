import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidError
from services.data_svc.engine.findings import Findings
from services.data_svc.engine.split import SplitPolicy, divide, quotas

THREE = {"train": 0.7, "validation": 0.15, "test": 0.15}


def samples(counts: dict[str, int]) -> dict[str, tuple[str, str]]:
    return {f"{label}/{n}": (label, f"{label}{n}") for label, count in counts.items() for n in range(count)}


@given(count=st.integers(3, 10_000), first=st.floats(0.01, 0.9))
def test_quotas_add_up_leave_no_split_empty_and_stay_near_the_shares(count: int, first: float) -> None:
    shares = {"train": first, "validation": (1 - first) / 2, "test": (1 - first) / 2}
    found = quotas(count, shares)
    assert sum(found.values()) == count
    assert min(found.values()) >= 1
    assert all(abs(found[split] - count * share) <= 2 for split, share in shares.items())


@given(seed=st.integers(0, 99), order=st.randoms())
def test_the_order_of_the_samples_changes_nothing(seed: int, order: object) -> None:
    given_samples = samples({"a": 20, "b": 30})
    items = list(given_samples.items())
    order.shuffle(items)  # type: ignore[attr-defined]  # a random generator
    policy = SplitPolicy(fractions=THREE, seed=seed, stratify=True)
    assert divide(given_samples, policy, Findings()) == divide(dict(items), policy, Findings())


def test_the_order_of_the_shares_changes_nothing() -> None:
    given_samples = samples({"a": 33, "b": 41, "c": 7})
    found = [
        divide(given_samples, SplitPolicy(fractions=dict(order), seed=7, stratify=True), Findings())
        for order in itertools.permutations(THREE.items())
    ]
    assert all(one == found[0] for one in found)


def test_every_class_has_the_same_shares_when_stratified() -> None:
    found = divide(samples({"a": 100, "b": 20}), SplitPolicy(fractions=THREE, stratify=True), Findings())
    counts = {
        (label, split): sum(1 for name, chosen in found.items() if name[0] == label and chosen == split)
        for label in "ab"
        for split in THREE
    }
    assert counts[("a", "train")] == 70
    assert counts[("b", "train")] == 14
    assert counts[("b", "test")] == 3


def test_seeds_divide_differently() -> None:
    found = [divide(samples({"a": 50}), SplitPolicy(fractions=THREE, seed=seed), Findings()) for seed in range(3)]
    assert found[0] != found[1] != found[2]


def test_too_few_samples_for_the_splits_are_told() -> None:
    findings = Findings()
    divide(samples({"a": 1, "b": 1}), SplitPolicy(fractions=THREE), findings)
    assert "a split would be empty" in findings.faults[0].message


@pytest.mark.parametrize(
    "fractions",
    [{"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": 1.0, "test": 0.0}, {"train": math.nan}, {"a/b": 1.0}],
)
def test_shares_that_are_no_shares_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(InvalidError):
        SplitPolicy(fractions=fractions)

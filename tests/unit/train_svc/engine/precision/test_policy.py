"""A policy as data and as a file."""

from pathlib import Path

import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.precision import Difference, Limits, Operator, Policy, decide, read_policy, write_policy

OPERATORS = (
    Operator(name="encoder.norm", precision="bf16", kind="LayerNorm"),
    Operator(name="encoder.attention", precision="fp32", overflow=0.25, kind="attention", reason="25%: \"large\""),
    Operator(name="0", precision="bf16", forward_error=1.2e-3, kind="Linear"),
    Operator(name="", precision="bf16", kind="Net"),
)  # fmt: skip


def test_a_policy_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    policy = Policy(
        model="on", base="bf16", plain=Difference(gradient=0.25),
        measured=Difference(loss=0.5, gradient=0.125), loss_scale=1024,
        force={"encoder.*": "fp32", "0": "fp16"}, operators=OPERATORS,
    )  # fmt: skip
    path = write_policy(policy, tmp_path / "policy.yaml")
    text = path.read_text()
    assert read_policy(path) == policy
    assert sum(line.startswith("- {name") for line in text.splitlines()) == len(OPERATORS)
    assert all(f"\n#   {column} " in text for column in ("forward_error", "gradient_error", "overflow", "underflow"))


def test_a_pattern_wins_over_the_measured_and_stands_for_what_is_inside() -> None:
    policy = Policy(base="bf16", force={"encoder": "fp32", "encoder.n*": "fp16"}, operators=OPERATORS)
    names = ("encoder.attention", "encoder.attention.query", "encoder.norm", "0", "not measured")
    assert [policy.precision_of(name) for name in names] == ["fp32", "fp32", "fp16", "bf16", "bf16"]
    assert Policy(base="bf16", operators=OPERATORS).precision_of("encoder.attention") == "fp32"


def test_faults_of_an_edited_file_are_named_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("base: bf16\noperators:\n- {name: a, precision: fp23}\n- {name: b, precisoin: fp32}\n")
    with pytest.raises(InvalidError) as caught:
        read_policy(path)
    said = {fault.field: fault.message for fault in caught.value.violations}
    assert "did you mean 'fp32'" in said["policy.operators[0].precision"]
    assert "did you mean 'precision'" in said["policy.operators[1].precisoin"]


def test_a_pattern_that_fits_no_operator_and_a_name_that_comes_twice_are_refused() -> None:
    with pytest.raises(InvalidError, match=r"encoder.nrom.*did you mean 'encoder.norm'"):
        Policy(base="bf16", force={"encoder.nrom": "fp32"}, operators=OPERATORS)
    with pytest.raises(InvalidError, match=r"operators\[4\].name: '0' comes twice"):
        Policy(base="bf16", operators=(*OPERATORS, OPERATORS[2]))


def test_a_file_that_is_not_there_or_no_yaml_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"cannot read .*sensitivity"):
        read_policy(tmp_path / "none.yaml")
    (tmp_path / "policy.yaml").write_text("base: [")
    with pytest.raises(InvalidError, match="no YAML"):
        read_policy(tmp_path / "policy.yaml")


def test_an_error_stands_out_beyond_roundings_of_the_format_and_beyond_the_others() -> None:
    def measured(name: str, error: float, overflow: float = 0.0) -> Operator:
        return Operator(name=name, precision="fp16", forward_error=error, overflow=overflow)

    few = [measured("a", 4e-4), measured("b", 5e-4), measured("c", 9e-3), measured("d", 0.0, overflow=1e-6)]
    assert [each.precision for each in decide(few, "fp16", Limits())] == ["fp16", "fp16", "fp32", "fp32"]
    all_worse = [measured(str(place), 9e-3) for place in range(4)]
    assert {each.precision for each in decide(all_worse, "fp16", Limits())} == {"fp16"}
    assert "0.9%" in decide(few, "fp16", Limits())[2].reason

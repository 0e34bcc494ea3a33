import subprocess
import sys

import pytest

from services.common.errors import InvalidError
from services.compress_svc.engine.recipe import Recipe


def faults(data: object) -> dict[str, str]:
    with pytest.raises(InvalidError) as caught:
        Recipe.from_mapping(data)
    return {found.field: found.message for found in caught.value.violations}


def test_the_contracts_recipe_is_read_with_defaults() -> None:
    recipe = Recipe.from_mapping(
        {
            "variants": [{"name": "fp32"}, {"name": "int8", "method": "static", "calibration_samples": 64}, "fp16"],
            "latency_runs": 50,
        }
    )
    assert [(v.name, v.kind) for v in recipe.variants] == [("fp32", "fp32"), ("int8", "int8"), ("fp16", "fp16")]
    assert (recipe.variants[1].calibration_samples, recipe.latency_runs, recipe.threads) == (64, 50, 1)


def test_what_is_written_out_reads_back_the_same() -> None:
    recipe = Recipe.from_mapping({"variants": [{"name": "int8-kl", "calibration": "entropy"}, {"name": "fp16"}]})
    assert Recipe.from_mapping(recipe.to_mapping()) == recipe


def test_a_name_may_carry_its_kind_in_front_or_state_it() -> None:
    recipe = Recipe.from_mapping({"variants": ["int8_mse", {"name": "small", "kind": "fp16"}]})
    assert [variant.kind for variant in recipe.variants] == ["int8", "fp16"]


def test_every_fault_is_told_together_at_its_place() -> None:
    found = faults(
        {
            "variants": [
                {"name": "int8", "calibraton": "mse"},
                {"name": "int8", "method": "dynamic", "calibration": "entropi", "calibration_samples": 0},
                {"name": "fp16", "percentile": 99},
                {"name": "int4"},
                7,
            ],
            "latency_run": 5,
            "threads": "two",
            "max_accuracy_drop": True,
        }
    )
    assert "did you mean 'calibration'" in found["compress.variants[0].calibraton"]
    assert "static" in found["compress.variants[1].method"]
    assert "did you mean 'entropy'" in found["compress.variants[1].calibration"]
    assert "given twice" in found["compress.variants[1].name"]
    assert "whole number from 1" in found["compress.variants[1].calibration_samples"]
    assert "unknown key" in found["compress.variants[2].percentile"]
    assert "did you mean 'int8'" in found["compress.variants[3].name"]
    assert "compress.variants[4]" in found
    assert "did you mean 'latency_runs'" in found["compress.latency_run"]
    assert "'two'" in found["compress.threads"]
    assert "compress.max_accuracy_drop" in found


def test_a_calibration_given_as_the_method_is_understood() -> None:
    found = faults({"variants": [{"name": "int8", "method": "entropy"}]})
    assert "did you mean 'calibration: entropy'" in found["compress.variants[0].method"]


@pytest.mark.parametrize("data", [None, [], "int8", {}, {"variants": []}, {"variants": {}}])
def test_a_recipe_without_variants_says_what_one_looks_like(data: object) -> None:
    assert any("variants" in f"{field}: {message}" for field, message in faults(data).items())


def test_the_recipe_costs_the_control_plane_no_runtime() -> None:
    code = (
        "import sys; from modelwright.compress import Recipe; Recipe.from_mapping({'variants': ['int8']}); "
        "print([m for m in ('numpy', 'onnx', 'onnxruntime', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

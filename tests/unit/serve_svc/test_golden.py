"""Golden replay and loading."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.common.errors import InvalidError, NotFoundError
from services.serve_svc.engine.datatypes import DATATYPES
from services.serve_svc.engine.generation import Generation, Identity
from services.serve_svc.engine.golden import compare
from services.serve_svc.engine.loading import load
from services.serve_svc.engine.options import ServingOptions
from services.serve_svc.engine.package import open_package, version_folder
from services.serve_svc.engine.session import Session
from services.serve_svc.engine.signature import Signature, TensorSpec
from services.serve_svc.inference.preprocessing import read_preprocess

OUTPUT = Signature(
    inputs=(), outputs=(TensorSpec(name="y", kind=DATATYPES["FP32"], shape=(-1, 2)),), rtol=1e-3, atol=1e-2
)
SIGNATURE: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1, 2]}],
    "golden": {"rtol": 1e-3, "atol": 1e-4},
}


def check(got: Any, wanted: Any) -> str:
    try:
        compare({"y": np.array(got, np.float32)}, {"y": np.array(wanted, np.float32)}, OUTPUT)
    except InvalidError as error:
        return error.message
    return ""


def test_outputs_within_the_tolerance_pass() -> None:
    assert check([[100.05, 0.005]], [[100.0, 0.0]]) == ""
    assert check([[np.nan, np.inf]], [[np.nan, np.inf]]) == ""


def test_the_tensor_and_its_largest_deviation_are_named() -> None:
    told = check([[1.0, 2.0], [3.5, 4.02]], [[1.0, 2.0], [3.0, 4.0]])
    assert "output 'y' deviates by up to 0.5 (at [1, 0]: 3.5, recorded 3; 2 of 4 elements" in told
    assert "rtol 0.001, atol 0.01" in told
    assert "deviates by up to inf" in check([[np.nan, 0.0]], [[0.0, 0.0]])
    assert "has shape [1, 2], recorded was [2, 2]" in check([[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]])


@pytest.fixture
def package(lookup: Session, tmp_path: Path) -> Path:
    """The folder of the lookup model, now with a signature and golden arrays."""
    (tmp_path / "signature.json").write_text(json.dumps(SIGNATURE))
    rows = np.array([[[3, -3]], [[4, -4]]], np.float32)
    golden: dict[str, Any] = {"input:x": np.array([[3], [4]]), "output:y": rows}
    np.savez(tmp_path / "golden.npz", **golden)
    return tmp_path


def loaded(folder: Path) -> Generation:
    identity = Identity(model="m", version="1")
    return load(open_package(folder), identity, ServingOptions(), read_preprocess)


def test_a_whole_package_loads(package: Path) -> None:
    assert loaded(package).signature.rtol == 1e-3


def change(package: Path, **fields: Any) -> None:
    (package / "signature.json").write_text(json.dumps({**SIGNATURE, **fields}))


def test_damaged_files_are_named(package: Path) -> None:
    change(package, inputs=[{"name": "z", "datatype": "INT64", "shape": [-1, 1]}])
    with pytest.raises(InvalidError, match=r"names the input 'z', but the graph has 'x'"):
        loaded(package)
    change(package, inputs=[{"name": "x", "datatype": "INT32", "shape": [-1, 1]}])
    with pytest.raises(InvalidError, match="is INT32, but the graph says INT64"):
        loaded(package)
    change(package, inputs=[{"name": "x"}])
    with pytest.raises(InvalidError, match=r"signature\.json: not a signature"):
        loaded(package)
    change(package)
    (package / "golden.npz").write_bytes(b"PK nothing")
    with pytest.raises(InvalidError, match=r"golden\.npz cannot be read"):
        loaded(package)
    (package / "golden.npz").unlink()
    (package / "preprocess.yaml").write_text("- decode_imag: {}")
    with pytest.raises(InvalidError, match="did you mean 'decode_image'"):
        loaded(package)
    (package / "preprocess.yaml").unlink()
    (package / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InvalidError, match=r"cannot load model\.onnx"):
        loaded(package)
    (package / "model.onnx").unlink()
    with pytest.raises(NotFoundError, match=r"holds no model\.onnx"):
        loaded(package)


def test_the_highest_version_folder_is_taken(tmp_path: Path) -> None:
    for number in ("2", "10", "9"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "model.onnx").touch()
    assert version_folder(tmp_path) == (tmp_path / "10", "10")

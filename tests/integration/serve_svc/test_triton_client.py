"""The unmodified Triton clients against the inference server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("triton_calls.py")


@pytest.fixture(scope="module")
def told(folder_server: Any) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), f"127.0.0.1:{folder_server.rest}", f"127.0.0.1:{folder_server.rpc}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("wire", ["rest", "rpc"])
def test_health_and_predictions(told: dict[str, Any], wire: str) -> None:
    found = told[wire]
    assert found["live"]
    assert found["ready"]
    assert found["model_ready"] == [True, True, False]
    assert found["output"] == [[32.0, 64.0, 96.0]]
    assert found["classes"] == ["96.000000:2:high", "64.000000:1:middle"]
    assert found["labels"] == [[[32.0, 64.0, 96.0]], ["1.000000:2:high"]]


@pytest.mark.parametrize("wire", ["rest", "rpc"])
def test_each_wrong_request_has_one_clear_message(told: dict[str, Any], wire: str) -> None:
    model, version, name, shape, kind = told[wire]["failures"]
    assert "no model 'sun' is loaded; did you mean 'sum'?" in model
    assert "model 'sum' has no version '2'; loaded: 1" in version
    assert "the model has no input 'inputs'; did you mean 'input'?" in name
    assert "input 'input' takes shape [-1, 1, 8, 8] (-1: any size), but [1, 1, 7, 8] came" in shape
    assert "input 'input' takes FP32, but FP64 came" in kind


@pytest.mark.parametrize("wire", ["rest", "rpc"])
def test_every_type_travels_in_binary(told: dict[str, Any], wire: str) -> None:
    assert len(told[wire]["types"]) == 14
    assert all(told[wire]["types"].values()), told[wire]["types"]


def test_types_travel_as_json(told: dict[str, Any]) -> None:
    assert len(told["json_types"]) == 12
    assert all(told["json_types"].values()), told["json_types"]


def test_both_asyncio_forms_and_packed_bodies(told: dict[str, Any]) -> None:
    assert told["aio"] == [[32.0] * 20] * 2
    assert told["gzip"] == [[32.0, 64.0, 96.0]]


def test_both_wires_describe_the_same(told: dict[str, Any]) -> None:
    assert told["metadata"]["versions"] == ["3"]
    assert told["metadata"]["inputs"][0] == {"name": "in_BOOL", "datatype": "BOOL", "shape": [-1, 2]}
    assert [t["name"] for t in told["rpc_metadata"]["inputs"]] == [t["name"] for t in told["metadata"]["inputs"]]
    assert told["config"]["input"][0] == {"name": "input", "data_type": "TYPE_FP32", "dims": [1, 8, 8]}
    assert told["rpc_config"]["max_batch_size"] == told["config"]["max_batch_size"] == 16
    assert told["server"][0] == told["server"][1]
    assert {m["name"] for m in told["index"][0]} == {m["name"] for m in told["index"][1]} == {"brain", "sum", "types"}
    # Three of the five failures of each wire reached the model.
    assert told["stats"] == [6, 6]

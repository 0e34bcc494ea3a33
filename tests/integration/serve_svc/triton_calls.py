"""Speaks to a server with the unmodified Triton clients and prints what came as JSON.

A program of its own: Triton's client registers the protocol's messages under the names that ours have.
"""

import asyncio
import json
import sys
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc as rpc
import tritonclient.grpc.aio as rpc_aio
import tritonclient.http as rest
import tritonclient.http.aio as rest_aio
from tritonclient.utils import InferenceServerException

PICTURE = np.full((1, 1, 8, 8), 0.5, np.float32)
VALUES: dict[str, Any] = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-32768, 32767]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[0.5, -2.0]], np.float16),
    "FP32": np.array([[0.5, -2.0]], np.float32),
    "FP64": np.array([[0.1, -2.0]], np.float64),
    "BF16": np.array([[0.5, -2.0]], ml_dtypes.bfloat16),
    "BYTES": np.array([["pear", "größe"]], object),
}


def inputs(module: Any, name: str, array: Any, datatype: str = "FP32", **how: Any) -> list[Any]:
    tensor = module.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, **how)
    return [tensor]


def all_types(module: Any, client: Any, skip: set[str], **how: Any) -> dict[str, bool]:
    wanted = [name for name in VALUES if name not in skip]
    found = {}
    for model, given in (("types", [n for n in VALUES if n != "BF16"]), ("brain", ["BF16"])):
        answer = some_types(module, client, model=model, given=given, wanted=wanted, how=how)
        found.update(answer)
    return found


def some_types(
    module: Any, client: Any, *, model: str, given: list[str], wanted: list[str], how: dict[str, Any]
) -> dict[str, bool]:
    tensors = [t for name in given for t in inputs(module, f"in_{name}", VALUES[name], name, **_how(name, how))]
    names = [name for name in given if name in wanted]
    outputs = [module.InferRequestedOutput(f"out_{name}", **_how(name, how)) for name in names]
    answer = client.infer(model, tensors, outputs=outputs)
    found = {}
    for name in names:
        got = answer.as_numpy(f"out_{name}")
        text = name == "BYTES"
        found[name] = _texts(got) == _texts(VALUES[name]) if text else bool((got == VALUES[name]).all())
    return found


def _how(name: str, how: dict[str, Any]) -> dict[str, Any]:
    return {} if name in ("FP16", "BF16") else how


def _texts(array: Any) -> list[str]:
    return [e.decode() if isinstance(e, bytes) else str(e) for e in array.ravel()]


def failure(module: Any, client: Any, model: str, tensors: list[Any], **more: Any) -> str:
    try:
        client.infer(model, tensors, **more)
    except InferenceServerException as error:
        return str(error)
    return ""


def over(module: Any, client: Any) -> dict[str, Any]:
    plain = client.infer("sum", inputs(module, "input", PICTURE), request_id="mine")
    classes = client.infer(
        "sum", inputs(module, "input", PICTURE), outputs=[module.InferRequestedOutput("output", class_count=2)]
    )
    labels = client.infer("sum", inputs(module, "input", PICTURE), parameters={"classification": 1})
    wrong_shape = inputs(module, "input", PICTURE[:, :, :7])
    wrong_type = inputs(module, "input", PICTURE.astype(np.float64), "FP64")
    wrong_name = inputs(module, "inputs", PICTURE)
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready("sum"), client.is_model_ready("sum", "1"), client.is_model_ready("no")],
        "output": plain.as_numpy("output").tolist(),
        "classes": _texts(classes.as_numpy("output")),
        "labels": [labels.as_numpy("output").tolist(), _texts(labels.as_numpy("labels"))],
        "failures": [
            failure(module, client, "sun", wrong_name),
            failure(module, client, "sum", wrong_name, model_version="2"),
            failure(module, client, "sum", wrong_name),
            failure(module, client, "sum", wrong_shape),
            failure(module, client, "sum", wrong_type),
        ],
        "types": all_types(module, client, set()),
    }


async def over_aio(module: Any, aio: Any, url: str) -> list[float]:
    client = aio.InferenceServerClient(url)
    assert await client.is_server_live()
    answers = await asyncio.gather(*(client.infer("sum", inputs(module, "input", PICTURE)) for _ in range(20)))
    await client.close()
    return [float(answer.as_numpy("output")[0, 0]) for answer in answers]


def main(rest_url: str, rpc_url: str) -> None:
    by_rest, by_rpc = rest.InferenceServerClient(rest_url), rpc.InferenceServerClient(rpc_url)
    found = {
        "rest": over(rest, by_rest),
        "rpc": over(rpc, by_rpc),
        "json_types": all_types(rest, by_rest, {"FP16", "BF16"}, binary_data=False),
        "aio": [asyncio.run(over_aio(rest, rest_aio, rest_url)), asyncio.run(over_aio(rpc, rpc_aio, rpc_url))],
        "gzip": by_rest.infer("sum", inputs(rest, "input", PICTURE), request_compression_algorithm="gzip")
        .as_numpy("output")
        .tolist(),
        "metadata": by_rest.get_model_metadata("types"),
        "rpc_metadata": by_rpc.get_model_metadata("types", as_json=True),
        "config": by_rest.get_model_config("sum"),
        "rpc_config": by_rpc.get_model_config("sum", as_json=True)["config"],
        "server": [by_rest.get_server_metadata(), by_rpc.get_server_metadata(as_json=True)],
        "index": [by_rest.get_model_repository_index(), by_rpc.get_model_repository_index(as_json=True)["models"]],
        "stats": [
            by_rest.get_inference_statistics("sum")["model_stats"][0]["inference_stats"]["fail"]["count"],
            int(by_rpc.get_inference_statistics("sum").model_stats[0].inference_stats.fail.count),
        ],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

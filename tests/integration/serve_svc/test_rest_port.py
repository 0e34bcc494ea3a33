"""What a REST client may get wrong, and the pages beside inference."""

import io
import json
import socket
import urllib.request
from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from services.common.rpc import Peer, call


def tensor(**other: Any) -> dict[str, Any]:
    return {"name": "input", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64, **other}


def request(*tensors: dict[str, Any], **other: Any) -> bytes:
    return json.dumps({"inputs": list(tensors), **other}).encode()


def test_a_raw_picture_is_prepared_by_the_package(folder_server: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(file, "PNG")
    status, answer = folder_server.post("/v2/models/sum/infer", file.getvalue(), **{"Content-Type": "image/png"})
    assert status == 200
    assert answer["outputs"][0]["data"] == pytest.approx([64.0, 128.0, 192.0])
    assert answer["id"].startswith("prd_local_")

    status, answer = folder_server.post("/v2/models/sum/infer", b"no picture", **{"Content-Type": "image/png"})
    assert (status, "not a picture" in answer["error"]) == (400, True)
    status, answer = folder_server.post("/v2/models/types/infer", b"x", **{"Content-Type": "image/png"})
    assert (status, "has no preprocess.yaml" in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "JSON cannot be read"),
        (b"[]", 'list of "inputs"'),
        (request(), "input 'input' is missing"),
        (request(tensor(), tensor()), "came twice"),
        (request(tensor(datatype="FP31")), "did you mean 'FP32'?"),
        (request(tensor(shape=[1, 1, 8])), "takes 8"),
        (request(tensor(shape=[-1, 64])), "is not a shape"),
        (request(tensor(shape=[0, 1 << 40, 1 << 40])), "is not a shape"),
        (request(tensor(data=["a"] * 64)), "holds strings, not FP32"),
        (request(tensor(data=[[1.0], [1.0, 2.0]])), "differ in length"),
        (request(tensor(data=None)), "must be a list"),
        (request(tensor(), outputs=[{"name": "outptu"}]), "did you mean 'output'?"),
        (request(tensor(), id=7), "`id` must be a string"),
        (request(tensor(), parameters=[1]), "must be an object"),
        (request(tensor(), parameters={"timeout": "soon"}), "must be a whole number"),
        (request(tensor(parameters={"binary_data_size": 256}, data=None)), "0 bytes are left"),
        (request(tensor(parameters={"shared_memory_region": "r"})), "shared memory is not offered"),
    ],
)
def test_a_wrong_body_is_answered_with_400_and_a_reason(folder_server: Any, body: bytes, text: str) -> None:
    status, answer = folder_server.post("/v2/models/sum/infer", body)
    assert status == 400
    assert text in answer["error"]


def test_binary_framing_is_checked(folder_server: Any) -> None:
    head = request(tensor(parameters={"binary_data_size": 256}, data=None))
    for length, tail, text in (
        (str(len(head)), b"\0" * 255, "binary_data_size is 256, but 255 bytes are left"),
        (str(len(head)), b"\0" * 257, "1 bytes behind the JSON belong to no input"),
        ("999999", b"", "Inference-Header-Content-Length is '999999'"),
        ("-1", b"", "Inference-Header-Content-Length is '-1'"),
    ):
        status, answer = folder_server.post(
            "/v2/models/sum/infer", head + tail, **{"Inference-Header-Content-Length": length}
        )
        assert status == 400
        assert text in answer["error"]


def test_an_oversized_body_is_refused_whether_it_says_so_or_not(folder_server: Any) -> None:
    answer = exchange(folder_server, b"POST /v2/models/sum/infer HTTP/1.1\r\nContent-Length: 100001\r\n\r\n")
    assert b"HTTP/1.1 413" in answer
    assert b"at most 100000 are taken" in answer
    chunks = b"".join(b"%x\r\n" % 50000 + b"a" * 50000 + b"\r\n" for _ in range(3))
    head = b"POST /v2/models/sum/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(folder_server, head + chunks)
    assert b"HTTP/1.1 413" in answer


def test_what_is_no_http_is_answered_once_and_closed(folder_server: Any) -> None:
    assert b"HTTP/1.1 400" in exchange(folder_server, b"\x16\x03\x01 hello\r\n\r\n")
    assert b"HTTP/1.1 431" in exchange(folder_server, b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n")


def test_pipelined_requests_are_answered_in_order(folder_server: Any) -> None:
    live = b"GET /v2/health/live HTTP/1.1\r\n\r\n"
    missing = b"GET /v2/models/none HTTP/1.1\r\nConnection: close\r\n\r\n"
    answer = exchange(folder_server, live * 20 + missing)
    assert answer.count(b"HTTP/1.1 200 OK") == 20
    assert answer.rindex(b"HTTP/1.1 200 OK") < answer.index(b"HTTP/1.1 404")


def exchange(server: Any, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.rest), timeout=10) as client:
        client.sendall(data)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def test_unknown_addresses_and_methods(folder_server: Any) -> None:
    assert folder_server.post("/v3", b"")[0] == 404
    assert folder_server.post("/v2/models/sum/ready", b"")[0] == 405
    assert folder_server.post("/v2/models/sum/versions/x/infer", b"")[0] == 404


def test_metrics_have_the_names_people_chart(folder_server: Any) -> None:
    folder_server.predict()
    with urllib.request.urlopen(f"http://127.0.0.1:{folder_server.rest}/metrics") as answer:
        page = answer.read().decode()
    assert 'nv_inference_request_success{model="sum",version="1"}' in page
    assert 'nv_inference_queue_duration_us{model="types",version="3"}' in page
    assert "process_resident_memory_bytes" in page


def test_grpc_health_serves(folder_server: Any) -> None:
    peer = Peer(f"127.0.0.1:{folder_server.rpc}")
    stub = peer.stub(health_pb2_grpc.HealthStub)
    for service in ("", "inference.GRPCInferenceService"):
        found = call(stub.Check, health_pb2.HealthCheckRequest(service=service))
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    peer.close()

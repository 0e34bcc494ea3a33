"""REST before the real data_svc and train_svc: uploads, blobs, runs, metrics, keys, pages."""

import hashlib
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_run(gateway: httpx.Client, **body: Any) -> str:
    response = gateway.post("runs", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_an_upload_goes_on_where_it_stopped(gateway: httpx.Client) -> None:
    data = os.urandom(300_000)
    upload = gateway.post("uploads", json={"filename": "a.bin", "size": len(data), "digest": digest_of(data)}).json()
    path = f"uploads/{upload['id']}"
    assert gateway.patch(path, params={"offset": 0}, content=data[:100_000]).json()["received"] == 100_000
    wrong = gateway.patch(path, params={"offset": 5}, content=data[5:])
    assert (wrong.status_code, wrong.json()["received"]) == (409, 100_000)
    assert gateway.patch(path, params={"offset": 100_000}, content=data[100_000:]).json()["received"] == len(data)
    assert gateway.post(f"{path}:complete").json()["state"] == "complete"
    again = gateway.post("uploads", json={"filename": "b.bin", "size": len(data), "digest": digest_of(data)})
    assert again.json()["state"] == "complete"


def test_a_cut_connection_keeps_what_came(gateway: httpx.Client) -> None:
    upload = gateway.post("uploads", json={"filename": "c.bin", "size": 1 << 20}).json()
    target = gateway.base_url.join(f"/api/v1/projects/default/uploads/{upload['id']}?offset=0")
    with socket.create_connection((target.host, target.port or 80)) as raw:
        head = f"PATCH {target.raw_path.decode()} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 20}\r\n\r\n"
        raw.sendall(head.encode() + b"x" * 200_000)
        time.sleep(0.3)
    deadline = time.monotonic() + 10
    received = 0
    while not received and time.monotonic() < deadline:
        received = gateway.get(f"uploads/{upload['id']}").json()["received"]
        time.sleep(0.05)
    assert 0 < received <= 200_000


def test_more_bytes_than_announced_are_refused(gateway: httpx.Client) -> None:
    upload = gateway.post("uploads", json={"filename": "d.bin", "size": 10}).json()
    assert gateway.patch(f"uploads/{upload['id']}", params={"offset": 0}, content=b"x" * 11).status_code == 413


def test_an_upload_of_another_project_is_not_found(gateway: httpx.Client) -> None:
    upload = gateway.post("uploads", json={"filename": "e.bin", "size": 10}).json()
    assert gateway.get(f"/api/v1/projects/other/uploads/{upload['id']}").status_code == 404


def test_blobs_are_verified_and_read_in_ranges(gateway: httpx.Client) -> None:
    data = os.urandom(200_000)
    path = f"blobs/{digest_of(data)}"
    assert gateway.head(path).status_code == 404
    assert gateway.put(path, content=data[:-1]).status_code == 422
    assert gateway.head(path).status_code == 404
    assert gateway.put(path, content=data).json()["size"] == len(data)
    assert gateway.get(path).content == data
    part = gateway.get(path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert gateway.get(path, headers={"Range": "bytes=-5"}).content == data[-5:]
    assert gateway.get(path, headers={"Range": "bytes=200000-"}).status_code == 416
    assert gateway.get(path, headers={"If-None-Match": part.headers["etag"]}).status_code == 304


def test_points_of_many_callers_at_once_are_all_durable(gateway: httpx.Client) -> None:
    runs = [make_run(gateway) for _ in range(4)]

    def send(number: int) -> int:
        points = [{"key": f"k{n}", "step": number, "value": n + number} for n in range(10)]
        return gateway.post(f"runs/{runs[number % 4]}/metrics", json={"points": points}).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(send, range(200))) == {204}
    for run in runs:
        series = gateway.get(f"runs/{run}/metrics").json()["series"]
        assert [len(one["steps"]) for one in series] == [50] * 10


def test_a_batch_names_the_runs_it_refused_and_writes_the_others(gateway: httpx.Client) -> None:
    run = make_run(gateway)
    special = [{"key": "a", "step": n, "value": value} for n, value in enumerate(["NaN", "Infinity", 1.5])]
    entries = [{"run_id": run, "points": special, "params": {"lr": "0.1"}}, {"run_id": "run_none", "points": special}]
    answer = gateway.post("runs:log", json={"entries": entries}).json()
    assert list(answer["refused_runs"]) == ["run_none"]
    series = gateway.get(f"runs/{run}/metrics", params={"key": "a"}).json()["series"][0]
    assert series["values"] == ["NaN", "Infinity", 1.5]
    assert gateway.get(f"runs/{run}").json()["params"] == {"lr": "0.1"}
    assert gateway.post("runs/run_none/metrics", json={"points": special}).status_code in (404, 422)


def test_a_wrong_point_is_named(gateway: httpx.Client) -> None:
    response = gateway.post("runs/run_1/metrics", json={"points": [{"key": "a", "value": 1}, {"key": "a"}]})
    assert response.status_code == 422
    assert response.json()["violations"][0]["field"] == "points[1]"
    assert gateway.post("runs:log", content=b"{").status_code == 400


def test_a_repeated_key_gets_the_first_answer(gateway: httpx.Client) -> None:
    headers = {"Idempotency-Key": "one"}
    first = gateway.post("runs", json={"name": "a"}, headers=headers)
    second = gateway.post("runs", json={"name": "a"}, headers=headers)
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotency-replayed"] == "true"
    other = gateway.post("runs", json={"name": "b"}, headers=headers)
    assert (other.status_code, other.json()["violations"][0]["field"]) == (422, "Idempotency-Key")


def test_the_same_key_at_once_is_carried_out_once(gateway: httpx.Client) -> None:
    def post(_: int) -> httpx.Response:
        return gateway.post("runs", json={"name": "same"}, headers={"Idempotency-Key": "at-once"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert {one.status_code for one in answers} <= {201, 409}
    assert len({one.json()["id"] for one in answers if one.status_code == 201}) == 1


def test_a_page_token_of_another_query_is_stale(gateway: httpx.Client) -> None:
    for _ in range(3):
        make_run(gateway)
    token = gateway.get("runs", params={"page_size": 1}).json()["next_page_token"]
    assert gateway.get("runs", params={"page_size": 1, "page_token": token}).status_code == 200
    assert gateway.get("runs", params={"filter": "state = 'failed'", "page_token": token}).status_code == 422


def test_a_body_over_the_limit_is_refused_before_it_is_read(gateway: httpx.Client) -> None:
    assert gateway.post("runs", content=b"x" * (5 << 20)).status_code == 413
    chunked = gateway.post("runs", content=(b"x" * (1 << 20) for _ in range(5)))
    assert (chunked.status_code, chunked.headers["content-type"]) == (413, "application/problem+json")


def test_a_request_id_is_taken_and_given_back(gateway: httpx.Client) -> None:
    assert gateway.get("runs", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert gateway.get("runs", headers={"X-Request-Id": "no spaces"}).headers["x-request-id"].startswith("req_")


def test_a_page_of_another_site_cannot_post_here(gateway: httpx.Client) -> None:
    response = gateway.post("runs", json={}, headers={"Origin": "https://evil.example"})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert gateway.get("runs", headers={"Host": "rebound.example"}).status_code == 403


def test_what_needs_an_absent_service_says_so_and_the_rest_works(gateway: httpx.Client) -> None:
    ready = gateway.get("/readyz")
    assert ready.status_code == 503
    services = ready.json()["services"]
    assert (services["train"]["ready"], services["serve"]["ready"]) == (True, False)
    assert "is the service running there" in services["serve"]["reason"]
    collected = gateway.post("/api/v1/gc", json={"dry_run": False})
    assert collected.status_code == 503
    assert "nothing was deleted" in collected.json()["detail"]


def test_the_page_and_the_metrics_answer(gateway: httpx.Client) -> None:
    page = gateway.get("/")
    assert page.status_code == 200
    assert "script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "modelwright_gateway_requests_total" in gateway.get("/metrics").text

"""A real HTTP server that keeps the REST contract in memory, and a proxy that cuts connections."""

import asyncio
import hashlib
import io
import json
import socket
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from modelwright import Client
from modelwright.client import ClientSettings

ROOT = "/api/v1/projects/{project}"
Json = dict[str, Any]


def problem(status: int, code: str, detail: str, **extra: Any) -> JSONResponse:
    headers = {"Retry-After": "0"} if status in (429, 503) else {}
    body = {"type": f"urn:modelwright:problem:{code}", "title": code, "status": status, "detail": detail, "code": code}
    return JSONResponse({**body, **extra}, status, headers, "application/problem+json")


@dataclass
class FakeGateway:
    """The REST contract, in memory. `failures` are answered first, one a request."""

    uploads: dict[str, Json] = field(default_factory=dict)
    data: dict[str, bytearray] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    run_keys: dict[str, str] = field(default_factory=dict)
    points: dict[tuple[str, str, int], Json] = field(default_factory=dict)
    artifacts: list[Json] = field(default_factory=list)
    versions: list[Json] = field(default_factory=list)
    lifecycles: dict[str, Json] = field(default_factory=dict)
    jobs: list[Json] = field(default_factory=list)
    log: list[Json] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    predicted: list[bytes] = field(default_factory=list)
    token: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        table: list[tuple[str, str, Any]] = [
            ("POST", "/uploads", self.create_upload),
            ("PATCH", "/uploads/{id}", self.write_upload),
            ("POST", "/uploads/{id}:complete", self.complete_upload),
            ("GET", "/uploads/{id}", self.get_upload),
            ("GET", "/blobs/{digest}", self.get_blob),
            ("PUT", "/blobs/{digest}", self.put_blob),
            ("POST", "/runs", self.create_run),
            ("GET", "/runs", self.list_runs),
            ("POST", "/runs:log", self.log_runs),
            ("POST", "/runs/{id}:finish", self.finish_run),
            ("POST", "/runs/{id}/artifacts", self.record_artifact),
            ("GET", "/runs/{id}", self.get_run),
            ("POST", "/models", self.create_version),
            ("GET", "/models:resolve", self.resolve),
            ("GET", "/models/{name}/versions/{version}/package", self.package),
            ("GET", "/jobs", self.list_jobs),
            ("GET", "/jobs/{id}", self.get_job),
            ("GET", "/jobs/{id}/log", self.read_log),
            ("POST", "/lifecycles", self.create_lifecycle),
            ("GET", "/lifecycles/{id}", self.get_lifecycle),
            ("GET", "/lifecycles/{id}/events", self.watch_lifecycle),
            ("POST", "/deployments/{name}:predict", self.predict),
        ]
        routes = [Route(ROOT + path, self._guarded(answer), methods=[method]) for method, path, answer in table]
        return Starlette(routes=routes)

    def _guarded(self, answer: Any) -> Any:
        async def guarded(request: Request) -> Response:
            self.requests.append((request.method, request.url.path, dict(request.headers)))
            if self.failures:
                status, detail = self.failures.pop(0)
                codes = {429: "busy", 503: "unavailable", 422: "invalid", 404: "not_found"}
                return problem(status, codes[status], detail)
            if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                return problem(401, "unauthorized", "the token is not known here")
            found: Response = await answer(request)
            return found

        return guarded

    async def create_upload(self, request: Request) -> Response:
        body = await request.json()
        key = request.headers["idempotency-key"]
        known = body["digest"] in self.blobs
        upload = self.uploads.setdefault(
            f"upl_{hashlib.sha256(key.encode()).hexdigest()[:8]}", {**body, "received": 0, "state": "open"}
        )
        upload["id"] = f"upl_{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        if known:
            upload |= {"received": body["size"], "state": "complete"}
        self.data.setdefault(upload["id"], bytearray())
        return JSONResponse(upload, 201)

    async def get_upload(self, request: Request) -> Response:
        found = self.uploads.get(request.path_params["id"])
        return JSONResponse(found) if found else problem(404, "not_found", "no such upload")

    async def write_upload(self, request: Request) -> Response:
        upload, data = self.uploads[request.path_params["id"]], self.data[request.path_params["id"]]
        if int(request.query_params["offset"]) != len(data):
            return problem(409, "conflict", "wrong offset", received=len(data))
        with suppress(ClientDisconnect):
            async for chunk in request.stream():
                data += chunk
                upload["received"] = len(data)
        return JSONResponse(upload)

    async def complete_upload(self, request: Request) -> Response:
        upload = self.uploads[request.path_params["id"]]
        data = bytes(self.data[upload["id"]])
        if "sha256:" + hashlib.sha256(data).hexdigest() != upload["digest"]:
            return problem(409, "conflict", "the digest differs")
        self.blobs[upload["digest"]] = data
        upload["state"] = "complete"
        return JSONResponse(upload)

    async def get_blob(self, request: Request) -> Response:
        found = self.blobs.get(request.path_params["digest"])
        return Response(found) if found is not None else problem(404, "not_found", "no such blob")

    async def put_blob(self, request: Request) -> Response:
        data = await request.body()
        if "sha256:" + hashlib.sha256(data).hexdigest() != request.path_params["digest"]:
            return problem(422, "invalid", "the bytes differ")
        self.blobs[request.path_params["digest"]] = data
        return JSONResponse({}, 201)

    async def create_run(self, request: Request) -> Response:
        key = request.headers["idempotency-key"]
        if key not in self.run_keys:
            self.run_keys[key] = f"run_{len(self.run_keys) + 1}"
            run = {**await request.json(), "id": self.run_keys[key], "state": "running", "error": "", "metrics": {}}
            self.runs[run["id"]] = run
        return JSONResponse(self.runs[self.run_keys[key]], 201)

    async def list_runs(self, request: Request) -> Response:
        start = int(request.query_params.get("page_token") or 0)
        found = list(self.runs.values())[start : start + 2]
        more = str(start + 2) if start + 2 < len(self.runs) else ""
        return JSONResponse({"runs": found, "next_page_token": more})

    async def get_run(self, request: Request) -> Response:
        found = self.runs.get(request.path_params["id"])
        return JSONResponse(found) if found else problem(404, "not_found", "no such run")

    async def log_runs(self, request: Request) -> Response:
        entries = (await request.json())["entries"]
        if any(point["key"] == "bad" for entry in entries for point in entry["points"]):
            return problem(422, "invalid", "a point is bad")
        refused = {}
        for entry in entries:
            if entry["run_id"] not in self.runs:
                refused[entry["run_id"]] = "deleted"
                continue
            for point in entry["points"]:
                self.points.setdefault((entry["run_id"], point["key"], point["step"]), point)
            self.runs[entry["run_id"]]["params"] |= entry["params"]
            self.runs[entry["run_id"]]["tags"] |= entry["tags"]
        return JSONResponse({"refused_runs": refused})

    async def finish_run(self, request: Request) -> Response:
        run = self.runs[request.path_params["id"]]
        run |= await request.json()
        return JSONResponse(run)

    async def record_artifact(self, request: Request) -> Response:
        self.artifacts.append(await request.json())
        return Response(status_code=204)

    async def create_version(self, request: Request) -> Response:
        body = await request.json()
        version = {**body, "number": len(self.versions) + 1, "digest": "sha256:" + "ab" * 32}
        self.versions.append(version)
        return JSONResponse(version, 201)

    async def resolve(self, request: Request) -> Response:
        return JSONResponse(self.versions[-1]) if self.versions else problem(404, "not_found", "no such model")

    async def package(self, request: Request) -> Response:
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as archive:
            for file in self.versions[-1]["files"]:
                info = tarfile.TarInfo(file["path"])
                info.size = file["size"]
                archive.addfile(info, io.BytesIO(self.blobs[file["digest"]]))
        return Response(target.getvalue(), media_type="application/x-tar")

    async def list_jobs(self, request: Request) -> Response:
        wanted = request.query_params.getlist("state")
        return JSONResponse({"jobs": [job for job in self.jobs if not wanted or job["state"] in wanted]})

    async def get_job(self, request: Request) -> Response:
        found = next((job for job in self.jobs if job["id"] == request.path_params["id"]), None)
        return JSONResponse(found) if found else problem(404, "not_found", "there is no such job")

    async def read_log(self, request: Request) -> Response:
        after = int(request.query_params.get("after_seq") or 0)
        if request.headers.get("accept") != "text/event-stream":
            return JSONResponse({"lines": [line for line in self.log if line["seq"] > after]})
        seen = int((request.headers.get("last-event-id") or "e-0").rsplit("-", 1)[1])

        async def stream() -> AsyncIterator[str]:
            for line in self.log:
                if line["seq"] > max(after, seen):
                    yield f"event: line\nid: e-{line['seq']}\ndata: {json.dumps(line)}\n\n"
                    await asyncio.sleep(0.02)
            yield "event: end\ndata: {}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def create_lifecycle(self, request: Request) -> Response:
        raw = await request.body()
        if request.query_params.get("validate_only"):
            if b"resnet_smal," in raw:
                found = [{"field": "train.model", "message": "line 4: no template 'resnet_smal'", "line": 4}]
                return problem(422, "invalid", "the lifecycle has 1 fault", violations=found)
            return JSONResponse({"valid": True}, 200)
        made = {"id": "lif_1", "name": "digits", "state": "running", "stages": [], "spec": json.loads(raw)}
        self.lifecycles["lif_1"] = made
        return JSONResponse(made, 202)

    async def get_lifecycle(self, request: Request) -> Response:
        found = self.lifecycles.get(request.path_params["id"])
        return JSONResponse(found) if found else problem(404, "not_found", "no such lifecycle")

    async def watch_lifecycle(self, request: Request) -> Response:
        async def stream() -> AsyncIterator[str]:
            for frame in self.frames:
                yield frame

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def predict(self, request: Request) -> Response:
        self.predicted.append(await request.body())
        answer = {"label": "3", "score": 0.99, "top": [{"label": "3", "score": 0.99}, {"label": "8", "score": 0.01}]}
        return JSONResponse({"id": "prd_1", "model": "digits/2", "predictions": [answer], "latency_ms": 1.5})


@contextmanager
def serving(gateway: FakeGateway) -> Iterator[FakeGateway]:
    """Serve until the block ends; the port stays the same when it is served again."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", gateway.port))
        listener.listen(128)
        gateway.port = listener.getsockname()[1]
        config = uvicorn.Config(gateway.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield gateway
        finally:
            server.should_exit = True
            thread.join()


class CuttingProxy:
    """Passes bytes on, and closes both ends after each of the given numbers of bytes in one direction."""

    def __init__(self, port: int, *, upward: list[int] | None = None, downward: list[int] | None = None) -> None:
        self.cuts = {"up": upward or [], "down": downward or []}
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for source, target, way in ((client, server, "up"), (server, client, "down")):
                    threading.Thread(target=self._pass_on, args=(source, target, way), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, way: str) -> None:
        passed = 0
        with suppress(OSError):
            while chunk := source.recv(65_536):
                target.sendall(chunk)
                passed += len(chunk)
                if self.cuts[way] and passed >= self.cuts[way][0]:
                    self.cuts[way].pop(0)
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with serving(FakeGateway()) as found:
        yield found


@pytest.fixture
def serve() -> Any:
    return serving


@pytest.fixture
def new_gateway() -> type[FakeGateway]:
    return FakeGateway


@pytest.fixture
def cutting_proxy() -> Iterator[Any]:
    made: list[CuttingProxy] = []

    def make(port: int, **cuts: list[int]) -> CuttingProxy:
        made.append(CuttingProxy(port, **cuts))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def connect() -> Iterator[Any]:
    made: list[Client] = []

    def make(url: str, **settings: Any) -> Client:
        made.append(Client(settings=ClientSettings(url=url, backoff_s=0.01, **settings)))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(gateway: FakeGateway, connect: Any) -> Client:
    found: Client = connect(gateway.url)
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 30 files in three classes, one with a long and foreign name."""
    folder = tmp_path / "pictures"
    for label in "abc":
        (folder / label).mkdir(parents=True)
        for number in range(10):
            (folder / label / f"{number}.png").write_bytes(bytes([number]) * (number * 7001))
    (folder / "a" / ("数字" * 40 + ".png")).write_bytes(b"x" * 1000)
    return folder

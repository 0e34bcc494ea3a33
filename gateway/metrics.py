"""The hot path of metrics: many small requests become few large writes, each answered once it is durable.

While one `LogBatch` is under way the next requests gather; then they travel
together. Under load batches grow by themselves, without it nobody waits.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.parameters import INT64_MAX
from gateway.problems import MalformedError
from gateway.upstream import Upstream
from proto.gen.modelwright.train.v1 import run_pb2
from services.common.errors import BusyError, InvalidError, ModelwrightError, NotFoundError
from services.common.rpc import acall

MAX_POINTS = 20_000
"""Points that one call carries; more wait for the next."""
MAX_WAITING_POINTS = 400_000
"""Points that wait at all; beyond it callers are told to come back."""
LOG_TIMEOUT_S = 30.0
T = TypeVar("T")
SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


Step = Annotated[int, msgspec.Meta(ge=-INT64_MAX, le=INT64_MAX)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=250, pattern=r"^[^\x00-\x1f\x7f]+$")]
RunId = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Text = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"^[^\x00]*$")]


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """A metric's value at a step; `time` in seconds since 1970."""

    key: Key
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    step: Step = 0
    time: float = 0.0


class Points(msgspec.Struct, forbid_unknown_fields=True):
    """Points of one run."""

    points: Annotated[list[Point], msgspec.Meta(max_length=MAX_POINTS)]


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """What is logged of one run."""

    run_id: RunId
    points: Annotated[list[Point], msgspec.Meta(max_length=MAX_POINTS)] = []
    params: dict[Key, Text] = {}
    tags: dict[Key, Text] = {}


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """What is logged of many runs."""

    entries: Annotated[list[Entry], msgspec.Meta(max_length=1000)]


POINTS = msgspec.json.Decoder(Points)
BATCH = msgspec.json.Decoder(Batch)

Waiting = tuple[list[run_pb2.RunEntry], int, "asyncio.Future[dict[str, str]]"]


class MetricBatcher:
    """Sends entries to the run service, one call at a time.

    Args:
        upstream: the services.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._waiting: list[Waiting] = []
        self._points = 0
        self._sender: asyncio.Task[None] | None = None

    async def log(self, entries: list[run_pb2.RunEntry]) -> dict[str, str]:
        """Return once the entries are durable: the runs that were refused, with the reason.

        Raises:
            BusyError: too much waits already.
            ModelwrightError: the call failed; none of the entries can be counted on.
        """
        size = sum(len(entry.points) + len(entry.params) + len(entry.tags) for entry in entries)
        if self._points + size > MAX_WAITING_POINTS:
            raise BusyError(f"{self._points} metric points wait to be written; send them again in a moment")
        done: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, size, done))
        self._points += size
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        refused = await done
        mine = {entry.run_id for entry in entries}
        return {run_id: reason for run_id, reason in refused.items() if run_id in mine}

    async def _send(self) -> None:
        while self._waiting:
            taken = self._take()
            request = run_pb2.LogBatchRequest(entries=[entry for entries, _, _ in taken for entry in entries])
            try:
                answer = await acall(self._upstream.runs.LogBatch, request, timeout_s=LOG_TIMEOUT_S)
                _settle(taken, dict(answer.refused_runs))
            except ModelwrightError as error:
                _settle(taken, error)
            except BaseException:
                _settle(taken, ModelwrightError("the write was broken off; send the points again"))
                raise

    def _take(self) -> list[Waiting]:
        count, points = 0, 0
        for _, size, _ in self._waiting:
            if count and points + size > MAX_POINTS:
                break
            count, points = count + 1, points + size
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._points -= points
        return taken

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._sender is not None:
            await asyncio.wait((self._sender,), timeout=LOG_TIMEOUT_S)


def _settle(taken: Sequence[Waiting], outcome: dict[str, str] | ModelwrightError) -> None:
    for _, _, done in taken:
        if done.done():  # Its caller left.
            continue
        if isinstance(outcome, ModelwrightError):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)


async def log_batch(request: Request) -> Response:
    """POST runs:log."""
    batch = _decoded(BATCH, await request.body())
    entries = [_entry(one.run_id, one.points, one.params, one.tags) for one in batch.entries]
    refused = await request.app.state.gateway.batcher.log(entries) if entries else {}
    return Response(msgspec.json.encode({"refused_runs": refused}), media_type="application/json")


async def log_points(request: Request) -> Response:
    """POST runs/{id}/metrics."""
    run_id = request.path_params["run_id"]
    found = _decoded(POINTS, await request.body())
    refused = await request.app.state.gateway.batcher.log([_entry(run_id, found.points, {}, {})])
    if run_id in refused:
        reason = refused[run_id]
        raise NotFoundError(reason) if "no run" in reason else InvalidError(reason, field="points")
    return Response(status_code=204)


def routes() -> list[Route]:
    """Return the two routes, to stand before all others: they are asked for most."""
    prefix = "/api/v1/projects/{project}/runs"
    return [
        Route(f"{prefix}:log", log_batch, methods=["POST"]),
        Route(f"{prefix}/{{run_id}}/metrics", log_points, methods=["POST"]),
    ]


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise InvalidError(message, field=where.rstrip("`").lstrip(".") or "body") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"the body is no JSON: {error}") from error


def _entry(run_id: str, points: list[Point], params: dict[str, str], tags: dict[str, str]) -> run_pb2.RunEntry:
    made = [run_pb2.MetricPoint(key=one.key, step=one.step, value=_number(one.value), time=one.time) for one in points]
    return run_pb2.RunEntry(run_id=run_id, points=made, params=params, tags=tags)


def _number(value: float | str) -> float:
    return SPECIAL[value] if isinstance(value, str) else value

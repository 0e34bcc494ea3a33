"""JSON answers, and routes that read JSON strictly."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from google.protobuf.message import Message

from gateway.translate import to_value


def answer(value: Message | dict[str, Any], status: int = 200) -> Response:
    """Return a message or a JSON object as the answer."""
    body = to_value(value) if isinstance(value, Message) else value
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


def page(key: str, entries: Iterable[Message], token: str) -> Response:
    """Return one page of messages."""
    return answer({key: [to_value(one) for one in entries], "next_page_token": token})


class StrictRequest(Request):
    """A request whose JSON is read by RFC 8259 alone: no NaN, no lone surrogates, no endless nesting."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body's value."""
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route whose requests are strict."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


def router(tag: str, prefix: str = "") -> APIRouter:
    """Return a router of one resource below the project."""
    return APIRouter(prefix=f"/api/v1/projects/{{project}}{prefix}", tags=[tag], route_class=StrictRoute)

"""The REST addresses of the Open Inference Protocol."""

import re
from collections.abc import Callable
from urllib.parse import unquote

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry

from services.common.errors import InvalidError, NotFoundError, UnavailableError
from services.serve_svc.engine.catalog import Catalog
from services.serve_svc.engine.generation import Generation
from services.serve_svc.inference import description, metrics
from services.serve_svc.inference.rest.codec import decode, decode_picture, encode, unpack
from services.serve_svc.inference.rest.messages import HttpRequest, HttpResponse, json_response

MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(infer|ready|config|stats))?")
Page = Callable[[HttpRequest], HttpResponse]


class Routes:
    """Finds and runs the handler of a request.

    Args:
        catalog: the models.
        registry: the process's own metrics.
        max_body_bytes: the most that a packed body may unfold to.
        accepts: whether new work is wanted; false while the server drains.
        connections: how many are open.
    """

    def __init__(
        self,
        catalog: Catalog,
        registry: CollectorRegistry,
        *,
        max_body_bytes: int,
        accepts: Callable[[], bool],
        connections: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._registry = registry
        self._most = max_body_bytes
        self._accepts = accepts
        self._connections = connections
        self._pages: dict[tuple[str, str], Page] = {
            ("GET", "/v2"): lambda _: json_response(description.server_metadata()),
            ("GET", "/v2/health/live"): lambda _: HttpResponse(),
            ("GET", "/v2/health/ready"): self._ready,
            ("GET", "/v2/models/stats"): self._all_statistics,
            ("POST", "/v2/repository/index"): self._index,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/livez"): lambda _: HttpResponse(),
            ("GET", "/readyz"): self._ready,
        }

    async def __call__(self, http: HttpRequest) -> HttpResponse:
        """Return the response; failures are raised."""
        path = http.target.partition(b"?")[0].decode("latin-1")
        page = self._pages.get((http.method, path.rstrip("/")))
        if page:
            return page(http)
        found = MODEL.fullmatch(path.rstrip("/"))
        if not found or (http.method, path.rstrip("/")) in self._pages:
            raise NotFoundError(f"there is nothing at {http.method} {path[:200]}; the protocol begins at /v2")
        name, version, action = unquote(found[1]), found[2] or "", found[3] or ""
        if http.method != ("POST" if action == "infer" else "GET"):
            return json_response({"error": f"{http.method} is not for {path[:200]}"}, 405)
        generation = self._catalog.get(name, version)
        if action == "infer":
            return await self._infer(http, generation)
        return self._about(generation, action)

    async def _infer(self, http: HttpRequest, generation: Generation) -> HttpResponse:
        body = unpack(http, self._most)
        picture = http.headers.get(b"content-type", b"").startswith(b"image/")
        call = decode_picture(http, body) if picture else decode(http, body)
        return encode(call, generation, await generation.infer(call.request))

    def _about(self, generation: Generation, action: str) -> HttpResponse:
        if action == "ready":
            return HttpResponse()
        if action == "config":
            return json_response(description.model_config(generation))
        if action == "stats":
            return json_response({"model_stats": [description.model_statistics(generation)]})
        return json_response(description.model_metadata(self._catalog, generation))

    def _ready(self, _: HttpRequest) -> HttpResponse:
        if not self._accepts():
            raise UnavailableError("the server is stopping")
        if not self._catalog.ready:
            waiting = ", ".join(f"'{name}'" for name in self._catalog.expected)
            raise UnavailableError(f"not every model is loaded: {waiting or 'the control plane named none yet'}")
        return HttpResponse()

    def _all_statistics(self, _: HttpRequest) -> HttpResponse:
        return json_response({"model_stats": [description.model_statistics(one) for one in self._catalog]})

    def _index(self, http: HttpRequest) -> HttpResponse:
        try:
            wish = orjson.loads(http.body) if http.body else {}
        except orjson.JSONDecodeError as error:
            raise InvalidError(f"the request's JSON cannot be read: {error}") from error
        ready = isinstance(wish, dict) and wish.get("ready") is True
        return json_response(description.repository_index(self._catalog, ready=ready))

    def _metrics(self, _: HttpRequest) -> HttpResponse:
        page = metrics.render(self._catalog, self._registry, self._connections())
        return HttpResponse(content_type=CONTENT_TYPE_LATEST.encode(), parts=(page,))

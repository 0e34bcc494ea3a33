"""The client of a Modelwright server."""

from typing import Any, Self

from modelwright.client.blobs import Blobs
from modelwright.client.compressions import Compressions
from modelwright.client.datasets import Datasets
from modelwright.client.deployments import Deployments
from modelwright.client.jobs import Jobs
from modelwright.client.lifecycles import Lifecycles
from modelwright.client.models import Models
from modelwright.client.records import Lineage, Worker, to_record
from modelwright.client.resource import items, part, unwrap
from modelwright.client.runs import Runs
from modelwright.client.settings import ClientSettings, resolve_settings
from modelwright.client.transport import Transport
from modelwright.client.uploads import Uploads


class Client:
    """Every call of a server's REST interface, typed; usable from many threads.

    Args:
        url: the gateway's root address; else `MODELWRIGHT_URL`, else `http://127.0.0.1:8080`.
        token: the API token; else `MODELWRIGHT_TOKEN`.
        project: the project; else `MODELWRIGHT_PROJECT`, else `default`.
        settings: all of it, and how long to wait; the other arguments then count for nothing.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        project: str | None = None,
        *,
        settings: ClientSettings | None = None,
    ) -> None:
        self.settings = settings or resolve_settings(url, token, project)
        self.transport = Transport(self.settings)
        self.uploads = Uploads(self.transport)
        self.blobs = Blobs(self.transport)
        self.datasets = Datasets(self.transport)
        self.runs = Runs(self.transport)
        self.models = Models(self.transport)
        self.compressions = Compressions(self.transport)
        self.deployments = Deployments(self.transport)
        self.jobs = Jobs(self.transport)
        self.lifecycles = Lifecycles(self.transport)

    def __enter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection."""
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self.transport.close()

    def lineage(self, thing: str) -> Lineage:
        """Return what a digest, run id, deployment or prediction id came from and led to."""
        answer = self.transport.json("GET", self.transport.path(f"lineage/{part(thing)}"))
        return to_record(Lineage, unwrap(answer, "lineage"))

    def gc(self, *, dry_run: bool = True) -> dict[str, Any]:
        """Remove what nothing refers to, or only say what would go; returns the server's account."""
        return dict(self.transport.json("POST", "/api/v1/gc", body={"dry_run": dry_run}) or {})

    def workers(self) -> list[Worker]:
        """Return the workers that were heard of lately."""
        return [to_record(Worker, item) for item in items(self.transport.json("GET", "/api/v1/workers"), "workers")]

    def info(self) -> dict[str, Any]:
        """Return the server's version and services."""
        return dict(self.transport.json("GET", "/api/v1/info") or {})

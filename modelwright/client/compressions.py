"""Requests to make models smaller."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelwright.client.records import Compression, Job, to_record
from modelwright.client.resource import Resource, part


class Compressions(Resource):
    """Compressions of the project."""

    def create(
        self, model: str, recipe: Mapping[str, Any], *, dataset: str = "", key: str | None = None
    ) -> tuple[Compression, Job]:
        """Queue the making and measuring of the recipe's variants; returns the compression and its job."""
        body = {"model": model, "dataset": dataset, "recipe": dict(recipe)}
        answer = self._json("POST", "compressions", body=body, key=key)
        return to_record(Compression, answer["compression"]), to_record(Job, answer["job"])

    def get(self, compression_id: str) -> Compression:
        """Return a compression with the variants made so far."""
        return self._one(Compression, "GET", f"compressions/{part(compression_id)}", "compression")

    def list(self, *, page_size: int = 0) -> Iterator[Compression]:
        """Yield compressions, newest first."""
        return self._pages(Compression, "compressions", "compressions", page_size=page_size)

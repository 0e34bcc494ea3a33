"""Lifecycles: from data to traffic."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelwright.client.events import follow
from modelwright.client.records import ENDED, to_record
from modelwright.client.resource import Resource, part, unwrap
from modelwright.client.stages import Lifecycle


class Lifecycles(Resource):
    """Lifecycles of the project."""

    def create(
        self, spec: Mapping[str, Any] | str, *, validate_only: bool = False, key: str | None = None
    ) -> Lifecycle:
        """Start a lifecycle, or only check it; text is sent as the YAML it is, so that faults name their line.

        Raises:
            InvalidError: with one violation a fault.
        """
        params = {"validate_only": "true"} if validate_only else {}
        if isinstance(spec, str):
            headers = {"Content-Type": "application/yaml"}
            answer = self._json("POST", "lifecycles", params=params, content=spec.encode(), headers=headers, key=key)
        else:
            answer = self._json("POST", "lifecycles", params=params, body=dict(spec), key=key)
        return _lifecycle(answer)

    def get(self, lifecycle_id: str) -> Lifecycle:
        """Return a lifecycle and how far it has come."""
        return _lifecycle(self._json("GET", f"lifecycles/{part(lifecycle_id)}"))

    def list(self, *, page_size: int = 0) -> Iterator[Lifecycle]:
        """Yield lifecycles, newest first."""
        return self._pages(Lifecycle, "lifecycles", "lifecycles", page_size=page_size)

    def cancel(self, lifecycle_id: str) -> Lifecycle:
        """Stop a lifecycle; the stage at work keeps its checkpoint."""
        return _lifecycle(self._json("POST", f"lifecycles/{part(lifecycle_id)}:cancel"))

    def restart(self, lifecycle_id: str, from_stage: str = "") -> Lifecycle:
        """Go on with an ended lifecycle, from a stage if one is given."""
        return _lifecycle(
            self._json("POST", f"lifecycles/{part(lifecycle_id)}:restart", body={"from_stage": from_stage})
        )

    def watch(self, lifecycle_id: str) -> Iterator[Lifecycle]:
        """Yield the lifecycle now and after each change, until it has ended."""
        for event in follow(
            self.transport,
            self.transport.path(f"lifecycles/{part(lifecycle_id)}/events"),
            is_last=lambda event: event.name == "end" or _state(event.data) in ENDED,
            has_ended=lambda: self.get(lifecycle_id).has_ended,
        ):
            if _state(event.data):
                yield _lifecycle(event.data)


def _lifecycle(answer: Any) -> Lifecycle:  # noqa: ANN401 - decoded JSON
    return to_record(Lifecycle, unwrap(answer or {}, "lifecycle"))


def _state(data: Any) -> str:  # noqa: ANN401 - decoded JSON
    inner = unwrap(data, "lifecycle")
    return str(inner.get("state", "")) if isinstance(inner, dict) else ""

"""Runs: ours and everybody else's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelwright.client.events import Event, follow
from modelwright.client.records import (
    ENDED,
    Checkpoint,
    File,
    Job,
    MetricPoint,
    MetricSeries,
    Run,
    to_plain,
    to_record,
)
from modelwright.client.resource import Resource, items, part, unwrap


class Runs(Resource):
    """Runs of the project."""

    def create(
        self,
        name: str = "",
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        dataset_digest: str = "",
        code_version: str = "",
        environment: Any = None,  # noqa: ANN401 - any JSON value
        hardware: Any = None,  # noqa: ANN401 - any JSON value
        key: str | None = None,
    ) -> Run:
        """Make a run that somebody else's program carries out; the same `key` gives the same run."""
        body: dict[str, Any] = {
            "name": name,
            "params": dict(params or {}),
            "tags": dict(tags or {}),
            "dataset_digest": dataset_digest,
            "code_version": code_version,
        }
        for field, value in (("environment", environment), ("hardware", hardware)):
            if value:
                body[field] = value
        return self._one(Run, "POST", "runs", "run", body=body, key=key)

    def train(
        self,
        name: str,
        spec: Mapping[str, Any],
        dataset: str,
        *,
        queue: str = "",
        priority: int = 0,
        key: str | None = None,
    ) -> tuple[Run, Job]:
        """Queue a training on our workers; returns the run and its job."""
        body = {"name": name, "spec": dict(spec), "dataset": dataset, "priority": priority}
        if queue:
            body["queue"] = queue
        answer = self._json("POST", "runs:train", body=body, key=key)
        return to_record(Run, answer["run"]), to_record(Job, answer["job"])

    def get(self, run_id: str) -> Run:
        """Return the run with the last value of every metric."""
        return self._one(Run, "GET", f"runs/{part(run_id)}", "run")

    def list(self, *, filter: str = "", order_by: str = "", page_size: int = 0) -> Iterator[Run]:
        """Yield runs, newest first unless `order_by` (`metrics.accuracy desc`) says otherwise.

        `filter` reads `metrics.accuracy > 0.9 and params.lr = '0.001' and state = 'succeeded'`.
        """
        return self._pages(Run, "runs", "runs", {"filter": filter, "order_by": order_by}, page_size)

    def delete(self, run_id: str) -> None:
        """Delete a run; refused while a model came of it."""
        self._none("DELETE", f"runs/{part(run_id)}")

    def finish(self, run_id: str, state: str = "succeeded", error: str = "") -> Run:
        """End a run that somebody else's program carried out."""
        return self._one(Run, "POST", f"runs/{part(run_id)}:finish", "run", body={"state": state, "error": error})

    def resume(self, run_id: str) -> tuple[Run, Job]:
        """Queue a job that goes on from the run's last checkpoint."""
        answer = self._json("POST", f"runs/{part(run_id)}:resume")
        return to_record(Run, answer["run"]), to_record(Job, answer["job"])

    def cancel(self, run_id: str) -> Any:  # noqa: ANN401 - the run or its job
        """Ask the run's job to checkpoint and leave."""
        return self._json("POST", f"runs/{part(run_id)}:cancel")

    def log(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Write points, params and tags of many runs at once; returns refused run ids with the reason.

        An entry is `{"run_id", "points": [{"key", "step", "value", "time"}], "params", "tags"}`. A point that
        was written before (run, key, step) changes nothing.
        """
        answer = self._json("POST", "runs:log", body={"entries": [dict(entry) for entry in entries]}, key="")
        return dict((answer or {}).get("refused_runs") or {})

    def log_metrics(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Write points of one run."""
        self._none("POST", f"runs/{part(run_id)}/metrics", body={"points": to_plain(list(points))}, key="")

    def metrics(
        self, run_id: str, *, keys: Sequence[str] = (), after_step: int | None = None, max_points: int = 0
    ) -> Sequence[MetricSeries]:
        """Return series by metric, thinned to `max_points` each with the extremes kept (0: every point)."""
        query = {"key": list(keys) or None, "after_step": after_step, "max_points": max_points or None}
        body = self._json("GET", f"runs/{part(run_id)}/metrics", params=query)
        return [to_record(MetricSeries, series) for series in items(body, "series")]

    def watch(self, run_id: str) -> Iterator[tuple[Run | None, Sequence[MetricPoint]]]:
        """Yield the run when it changed (else None) and its new points, until it has ended."""
        for event in follow(
            self.transport,
            self.transport.path(f"runs/{part(run_id)}/events"),
            is_last=_ends,
            has_ended=lambda: self.get(run_id).has_ended,
        ):
            if isinstance(event.data, dict):
                yield _changes(event)

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        """Return the run's checkpoints, newest first."""
        body = self._json("GET", f"runs/{part(run_id)}/checkpoints")
        return [to_record(Checkpoint, item) for item in items(body, "checkpoints")]

    def artifacts(self, run_id: str) -> Sequence[File]:
        """Return the files that were kept with the run."""
        body = self._json("GET", f"runs/{part(run_id)}/artifacts")
        return [to_record(File, item) for item in items(body, "files" if "files" in (body or {}) else "artifacts")]

    def record_artifact(self, run_id: str, file: File) -> None:
        """Keep a stored blob with the run under a path."""
        self._none("POST", f"runs/{part(run_id)}/artifacts", body=to_plain(file))


def _changes(event: Event) -> tuple[Run | None, list[MetricPoint]]:
    data = event.data
    run = unwrap(data, "run")
    points = [to_record(MetricPoint, point) for point in data.get("points") or []]
    return (to_record(Run, run) if "state" in run else None), points


def _ends(event: Event) -> bool:
    if event.name == "end":
        return True
    run = unwrap(event.data, "run")
    return isinstance(run, dict) and run.get("state") in ENDED

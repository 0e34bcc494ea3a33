"""Jobs: seen, followed, read, cancelled."""

import builtins
from collections.abc import Iterator, Sequence
from typing import Any

from modelwright.client.events import Event, follow
from modelwright.client.records import ENDED, Job, LogLine, to_record
from modelwright.client.resource import Resource, items, part, unwrap


class Jobs(Resource):
    """Long tasks of every service."""

    def get(self, job_id: str) -> Job:
        """Return the job."""
        return self._one(Job, "GET", f"jobs/{part(job_id)}", "job")

    def list(self, *, states: Sequence[str] = (), subject: str = "", page_size: int = 0) -> Iterator[Job]:
        """Yield jobs, newest first; `states` (any of them) and `subject` narrow them."""
        return self._pages(Job, "jobs", "jobs", {"state": [*states] or None, "subject": subject}, page_size)

    def cancel(self, job_id: str) -> Job:
        """Ask the job to checkpoint and leave; a queued one ends at once."""
        return self._one(Job, "POST", f"jobs/{part(job_id)}:cancel", "job")

    def preempt(self, job_id: str) -> Job:
        """Ask a running job to checkpoint, leave and queue again."""
        return self._one(Job, "POST", f"jobs/{part(job_id)}:preempt", "job")

    def watch(self, job_id: str) -> Iterator[Job]:
        """Yield the job now and after each change, until it has ended."""
        path = self.transport.path(f"jobs/{part(job_id)}/events")
        for event in follow(
            self.transport,
            path,
            is_last=lambda event: event.name == "end" or _state(event, "job") in ENDED,
            has_ended=lambda: self.get(job_id).has_ended,
        ):
            if isinstance(event.data, dict) and _state(event, "job"):
                yield to_record(Job, unwrap(event.data, "job"))

    def wait(self, job_id: str) -> Job:
        """Return the job once it has ended."""
        for job in self.watch(job_id):
            if job.has_ended:
                return job
        return self.get(job_id)

    def log(self, job_id: str, *, after_seq: int = 0) -> Sequence[LogLine]:
        """Return the log's lines after number `after_seq`."""
        found: builtins.list[LogLine] = []
        while True:
            body = self._json("GET", f"jobs/{part(job_id)}/log", params={"after_seq": after_seq or None})
            lines = [to_record(LogLine, line) for line in items(body, "lines")]
            if not lines:
                return found
            found += lines
            after_seq = lines[-1].seq

    def follow_log(self, job_id: str, *, after_seq: int = 0) -> Iterator[LogLine]:
        """Yield the log's lines as they are written, until the job has ended; none comes twice."""
        path = self.transport.path(f"jobs/{part(job_id)}/log")
        for event in follow(
            self.transport,
            path,
            params={"after_seq": after_seq or None, "follow": "true"},
            is_last=lambda event: event.name == "end",
            has_ended=lambda: self.get(job_id).has_ended,
        ):
            for line in _log_lines(event.data):
                if line.seq > after_seq:
                    after_seq = line.seq
                    yield line


def _state(event: Event, name: str) -> str:
    inner = unwrap(event.data, name)
    return str(inner.get("state", "")) if isinstance(inner, dict) else ""


def _log_lines(data: Any) -> Iterator[LogLine]:  # noqa: ANN401 - decoded JSON
    if not isinstance(data, dict):
        return
    found = data["lines"] if isinstance(data.get("lines"), list) else [data]
    for line in found:
        if isinstance(line, dict) and "seq" in line:
            yield to_record(LogLine, line)

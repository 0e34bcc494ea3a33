"""Jobs of all services as one: found by id, listed together."""

import asyncio
import base64
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from gateway.upstream import JOB_SERVICES, Upstream
from proto.gen.modelwright.common.v1 import job_pb2
from services.common.errors import InvalidError, NotFoundError, UnavailableError
from services.common.paging import page_limit
from services.common.rpc import acall

REMEMBERED = 10_000
"""Jobs whose service is kept in mind."""


class JobDirectory:
    """Knows which service a job belongs to.

    Args:
        upstream: the services.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def find(self, project: str, job_id: str) -> tuple[job_pb2.Job, Any]:
        """Return the job and the stub of its service.

        Raises:
            NotFoundError: no service has it in the project.
            UnavailableError: none of those that answer has it, and some do not answer.
        """
        known = self._owners.get(job_id)
        names = [known] if known else list(JOB_SERVICES)
        request = job_pb2.GetJobRequest(id=job_id)
        calls = [acall(self._upstream.jobs[name].GetJob, request, wait=False) for name in names]
        away: list[UnavailableError] = []
        for name, found in zip(names, await asyncio.gather(*calls, return_exceptions=True), strict=True):
            if isinstance(found, UnavailableError):
                away.append(found)
            elif isinstance(found, BaseException):
                if not isinstance(found, NotFoundError):
                    raise found
            else:
                return self._owned(project, name, found.job)
        if away:
            raise away[0]
        raise NotFoundError(f"project {project!r} has no job {job_id!r}; list those there are")

    def _owned(self, project: str, service: str, job: job_pb2.Job) -> tuple[job_pb2.Job, Any]:
        self._owners[job.id] = service
        if len(self._owners) > REMEMBERED:
            self._owners.popitem(last=False)
        if job.project != project:
            raise NotFoundError(f"project {project!r} has no job {job.id!r}; list those there are")
        return job, self._upstream.jobs[service]

    async def page(
        self, project: str, states: Sequence[job_pb2.JobState.ValueType], subject: str, page_size: int, page_token: str
    ) -> tuple[list[job_pb2.Job], str]:
        """Return jobs of all services, newest first, and the token of the next page (empty: there is none)."""
        limit = page_limit(page_size)
        cursors = _decode(page_token)

        async def one(name: str) -> tuple[str, list[job_pb2.Job], str]:
            token, skip = cursors[name]
            if token is None:
                return name, [], ""
            found = await acall(
                self._upstream.jobs[name].ListJobs,
                job_pb2.ListJobsRequest(
                    project=project, states=states, subject=subject, page_size=limit, page_token=token
                ),
                wait=False,
            )
            return name, list(found.jobs)[skip:], found.next_page_token

        pages = await asyncio.gather(*(one(name) for name in JOB_SERVICES))
        rows = sorted(((job, name) for name, jobs, _ in pages for job in jobs), key=_age)[:limit]
        following: dict[str, list[Any]] = {}
        for name, jobs, next_token in pages:
            taken = sum(owner == name for _, owner in rows)
            if taken < len(jobs):
                following[name] = [cursors[name][0], cursors[name][1] + taken]
            elif next_token:
                following[name] = [next_token, 0]
        return [job for job, _ in rows], _encode(following)


def _age(row: tuple[job_pb2.Job, str]) -> tuple[float, str]:
    job, _ = row
    return -(job.created_at.seconds + job.created_at.nanos / 1e9), job.id


def _encode(following: dict[str, list[Any]]) -> str:
    if not following:
        return ""
    return base64.urlsafe_b64encode(json.dumps(following, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(token: str) -> dict[str, tuple[str | None, int]]:
    """Return for each service its own page token and the jobs to skip behind it; None: it has no more."""
    if not token:
        return dict.fromkeys(JOB_SERVICES, ("", 0))
    try:
        value = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        found = {name: (str(own), int(skip)) for name, (own, skip) in value.items() if name in JOB_SERVICES}
        if any(skip < 0 for _, skip in found.values()):
            raise ValueError("a negative skip")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidError(
            "page_token does not belong to this query; start again without it", field="page_token"
        ) from error
    return {name: found.get(name, (None, 0)) for name in JOB_SERVICES}

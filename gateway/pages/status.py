"""One page that says what runs: services, jobs, last lifecycles. Everything on it is escaped."""

import asyncio
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fastapi import APIRouter, Response

from gateway.context import Gateway, Here
from gateway.lifecycles.views import lifecycle_value
from gateway.routers.system import health, workers
from gateway.translate import to_value
from gateway.version import VERSION
from services.common.errors import ModelwrightError

routes = APIRouter(include_in_schema=False)

SHOWN = 20
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE = Template((Path(__file__).parent / "status.html").read_text(encoding="utf-8"))
Cells = list[tuple[str, ...]]


@routes.get("/")
async def status(here: Here) -> Response:
    """Return the page."""
    services, jobs, staff, lifecycles = await asyncio.gather(
        health(here), _jobs(here), _workers(here), _lifecycles(here)
    )
    page = PAGE.substitute(
        version=escape(VERSION),
        services=_table(("Service", "State"), [(name, reason or "ready") for name, reason in services.items()]),
        workers=_section(("Worker", "Queues", "Busy", "Last seen"), staff, "No worker has been heard of yet."),
        jobs=_section(
            ("Job", "Project", "Kind", "State", "Progress", "What it says"), jobs, "No job has been submitted yet."
        ),
        lifecycles=_section(
            ("Lifecycle", "Name", "State", "Stages", "Begun", "Error"),
            lifecycles,
            "No lifecycle yet. Begin with: modelwright apply -f lifecycle.yaml",
        ),
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return Response(page, media_type="text/html; charset=utf-8", headers=headers)


async def _jobs(here: Gateway) -> Cells | str:
    try:
        found, _ = await here.jobs.page("", [], "", SHOWN, "")
    except ModelwrightError as error:
        return error.message
    return [_job_cells(to_value(job)) for job in found]


def _job_cells(job: dict[str, Any]) -> tuple[str, ...]:
    says = job["error"] or job["waiting_reason"] or job["message"]
    return job["id"], job["project"], job["kind"], job["state"], f"{100 * float(job['progress']):.0f}%", says[:300]


async def _workers(here: Gateway) -> Cells | str:
    try:
        found = await workers(here)
    except ModelwrightError as error:
        return error.message
    return [
        (one["name"], ", ".join(one["queues"]), f"{one['busy_slots']} of {one['slots']}", _clock(one["seen_at"]))
        for one in map(to_value, found)
    ]


async def _lifecycles(here: Gateway) -> Cells | str:
    try:
        rows, _ = await here.orchestrator.page("", SHOWN, "")
    except ModelwrightError as error:
        return error.message
    return [_lifecycle_cells(lifecycle_value(row, here.orchestrator.live(row.id))) for row in rows]


def _lifecycle_cells(one: dict[str, Any]) -> tuple[str, ...]:
    stages = " · ".join(f"{stage['name']} {stage['state']}" for stage in one["stages"])
    return one["id"], one["name"], one["state"], stages, _clock(one["created_at"]), one["error"][:300]


def _clock(time: str | None) -> str:
    return time[:19].replace("T", " ") + " UTC" if time else ""


def _section(heads: tuple[str, ...], rows: Cells | str, empty: str) -> str:
    if isinstance(rows, str):
        return f'<p class="away">Not known now: {escape(rows)}</p>'
    return _table(heads, rows) if rows else f"<p>{escape(empty)}</p>"


def _table(heads: tuple[str, ...], rows: Cells) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"

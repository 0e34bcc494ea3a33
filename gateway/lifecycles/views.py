"""Lifecycles as JSON: stages with durations, digests and figures, and what a running one says of itself."""

import time
from typing import Any

import orjson

from gateway.models import Lifecycle, Stage
from gateway.translate import rfc3339

DIGESTS = {"data": "dataset_digest", "train": "model_digest", "serve": "model_digest"}
"""Which field of a stage's result names what it made."""
SUMMED_UP = {"card"}
"""Fields too long to be shown with every change."""


def lifecycle_value(row: Lifecycle, live: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a lifecycle; `live` has what running stages say of themselves."""
    started = [one.started_at for one in row.stages if one.started_at]
    return {
        "id": row.id,
        "project": row.project,
        "name": row.name,
        "state": row.state,
        "error": row.error,
        "actor": row.actor,
        "cancel_requested": bool(row.cancel_requested),
        "spec_digest": row.spec_digest,
        "spec": orjson.loads(row.document),
        "stages": [stage_value(one, live.get(one.name, {})) for one in row.stages],
        "created_at": rfc3339(row.created_at),
        "started_at": rfc3339(min(started, default=None)),
        "finished_at": rfc3339(row.finished_at),
        "duration_s": round((row.finished_at or time.time()) - row.created_at, 3),
    }


def stage_value(one: Stage, live: dict[str, Any]) -> dict[str, Any]:
    """Return a stage with its result, the figures for a table, and its job's progress while it runs."""
    result = orjson.loads(one.result) if one.result else None
    job = live.get("job") or {}
    done = one.state in ("succeeded", "reused")
    ended = one.finished_at or (time.time() if one.started_at else None)
    return {
        "name": one.name,
        "state": one.state,
        "reused": one.state == "reused",
        "attempt": one.attempt,
        "progress": 1.0 if done else job.get("progress", 0.0),
        "eta_s": job.get("eta_s"),
        "message": live.get("message") or job.get("message", ""),
        "waiting_reason": job.get("waiting_reason", ""),
        "error": one.error,
        "job_id": one.job_id,
        "job": job or None,
        "run_id": (result or {}).get("run_id") or (job.get("subject", "") if one.name == "train" else ""),
        "digest": _digest(one.name, result),
        "input_digest": one.input_digest,
        "figures": _figures(one.name, result),
        "result": _shortened(result),
        "started_at": rfc3339(one.started_at),
        "finished_at": rfc3339(one.finished_at),
        "duration_s": round(ended - one.started_at, 3) if one.started_at and ended else None,
    }


def _digest(name: str, result: dict[str, Any] | None) -> str:
    if result is None:
        return ""
    if name == "gate":
        return str(result["chosen"]["digest"])
    return str(result.get(DIGESTS.get(name, ""), ""))


def _figures(name: str, result: dict[str, Any] | None) -> dict[str, Any]:
    """Return the figures that the final table shows of a stage."""
    if result is None:
        return {}
    if name == "data":
        return {"samples": result["samples"], "bytes": result["bytes"]}
    if name == "train":
        metrics = result["metrics"] if isinstance(result["metrics"], dict) else {}
        return {key: value["value"] if isinstance(value, dict) else value for key, value in metrics.items()}
    if name == "compress":
        return {"variants": len(result["variants"])}
    if name == "gate":
        return {"variant": result["chosen"]["variant"], **result["chosen"]["figures"]}
    return {"revision": result["revision"], "alias": result["alias"]}


def _shortened(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the result without the cards, which the model versions have."""
    if result is None or "variants" not in result:
        return result
    variants = [{key: value for key, value in one.items() if key not in SUMMED_UP} for one in result["variants"]]
    return {**result, "variants": variants}

"""What FastAPI cannot read off the routes: messages' schemas, the hot path, tokens, common headers."""

from typing import Any

import msgspec

from gateway.metrics import Batch, Points
from gateway.schemas import COMPONENTS, NOTHING, REF, fields, gives, problems

DESCRIPTION = """\
From raw data to a served model: datasets, runs, models, compressions, deployments, and lifecycles over them.

Errors are problem documents (RFC 9457). Lists have `page_size`, `page_token` and `next_page_token`. A `POST` with an
`Idempotency-Key` can be repeated safely. `X-Request-Id` is taken, given back, and found in every service's log.
"""
PROJECT = {
    "name": "project",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
    "example": "default",
}
RUN_ID = {
    "name": "run_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body gets the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
POINT = {"key": "loss", "step": 1, "value": 0.25, "time": 1767225600.0}


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with all that is added to it."""
    schema["info"]["description"] = DESCRIPTION
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, made = msgspec.json.schema_components([Batch, Points], ref_template=REF + "{name}")
    schemas.update(COMPONENTS.schemas, **made)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{}, {"token": []}]
    schema["paths"] |= _hot_paths(schema["paths"])
    for operations in schema["paths"].values():
        for method, operation in operations.items():
            if method == "post":
                operation.setdefault("parameters", []).append(KEY)
    return schema


def _hot_paths(paths: dict[str, Any]) -> dict[str, Any]:
    metrics = "/api/v1/projects/{project}/runs/{run_id}/metrics"
    refused = {"type": "object", "additionalProperties": {"type": "string"}}
    batch = _operation(
        "Log a batch",
        "Write points, params and tags of many runs. A point that was written before changes nothing. "
        "Answered once it is durable; runs that were refused are listed with the reason.",
        parameters=[PROJECT],
        body="Batch",
        example={"entries": [{"run_id": "run_01jd0000000000000000000000", "points": [POINT]}]},
        responses=gives(fields({"refused_runs": refused}), "Written.") | problems(400),
    )
    points = _operation(
        "Log points",
        "Write points of one run. Answered once they are durable.",
        parameters=[PROJECT, RUN_ID],
        body="Points",
        example={"points": [POINT]},
        responses=NOTHING | problems(400, 404),
    )
    return {
        "/api/v1/projects/{project}/runs:log": {"post": batch},
        metrics: {**paths.get(metrics, {}), "post": points},
    }


def _operation(
    summary: str,
    text: str,
    *,
    parameters: list[dict[str, Any]],
    body: str,
    example: dict[str, Any],
    responses: dict[int | str, Any],
) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": REF + body}, "example": example}}
    return {
        "tags": ["runs"],
        "summary": summary,
        "description": text,
        "operationId": summary.lower().replace(" ", "_"),
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": content},
        "responses": {str(status): response for status, response in responses.items()},
    }

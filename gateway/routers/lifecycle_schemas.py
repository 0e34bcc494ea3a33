"""OpenAPI schemas of lifecycles, which are the gateway's own and have no message."""

from typing import Any

from gateway.lifecycles.states import LIFECYCLE_MOVES, STAGE_MOVES, STAGES
from gateway.schemas import COMPONENTS, REF, Schema, fields

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
TIME: Schema = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
MAYBE: Schema = {"anyOf": [NUMBER, {"type": "null"}]}
FREE: Schema = {"type": "object", "additionalProperties": True}
MAYBE_FREE: Schema = {"anyOf": [FREE, {"type": "null"}]}

EXAMPLE = """\
name: digits
data: {dataset: "digits:1"}
train: {model: resnet_small, epochs: 12}
compress: {variants: [{name: int8, method: static}, {name: fp16}]}
gate: {bounds: ["accuracy_drop <= 0.01", "p99_ms <= 5"], prefer: p50_ms}
serve: {deployment: digits, alias: champion}
"""

COMPONENTS.schemas["LifecycleStage"] = fields(
    {
        "name": {"type": "string", "enum": list(STAGES)},
        "state": {"type": "string", "enum": sorted(STAGE_MOVES)},
        "reused": {"type": "boolean"},
        "attempt": {"type": "integer"},
        "progress": NUMBER,
        "eta_s": MAYBE,
        "message": TEXT,
        "waiting_reason": TEXT,
        "error": TEXT,
        "job_id": TEXT,
        "job": MAYBE_FREE,
        "run_id": TEXT,
        "digest": TEXT,
        "input_digest": TEXT,
        "figures": FREE,
        "result": MAYBE_FREE,
        "started_at": TIME,
        "finished_at": TIME,
        "duration_s": MAYBE,
    },
    title="LifecycleStage",
)
COMPONENTS.schemas["Lifecycle"] = fields(
    {
        "id": TEXT,
        "project": TEXT,
        "name": TEXT,
        "state": {"type": "string", "enum": sorted(LIFECYCLE_MOVES)},
        "error": TEXT,
        "actor": TEXT,
        "cancel_requested": {"type": "boolean"},
        "spec_digest": TEXT,
        "spec": FREE,
        "stages": {"type": "array", "items": {"$ref": REF + "LifecycleStage"}},
        "created_at": TIME,
        "started_at": TIME,
        "finished_at": TIME,
        "duration_s": NUMBER,
    },
    title="Lifecycle",
)
LIFECYCLE: Schema = {"$ref": REF + "Lifecycle"}
LIFECYCLES = fields({"lifecycles": {"type": "array", "items": LIFECYCLE}, "next_page_token": TEXT})
CHECKED = fields(
    {
        "valid": {"type": "boolean"},
        "name": TEXT,
        "spec_digest": TEXT,
        "stages": {"type": "array", "items": fields({"name": TEXT})},
    }
)
DOCUMENT: dict[str, Any] = {
    "required": True,
    "content": {
        "application/yaml": {"schema": {"type": "string"}, "example": EXAMPLE},
        "application/json": {"schema": FREE, "example": {"name": "digits", "data": {"dataset": "digits:1"}}},
    },
}
"""The request body: free JSON or YAML; its own reader says what is wrong with it, at which line."""

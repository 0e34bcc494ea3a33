"""OpenAPI schemas of answers, read off the messages that they are made from."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.translate import TIMESTAMP, is_json, is_map, json_name, state_names

Schema = dict[str, Any]
REF = "#/components/schemas/"

INTEGERS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_SINT64,
}
FLOATS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
FLOAT: Schema = {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}

PROBLEM: Schema = {
    "type": "object",
    "title": "Problem",
    "description": "An RFC 9457 problem document: what was wrong, where, and what to do.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "received": {"type": "integer", "description": "Of an upload: where it goes on."},
        "violations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "line": {"type": "integer"},
                    "column": {"type": "integer"},
                },
            },
        },
    },
    "example": {
        "type": "urn:modelwright:problem:not_found",
        "title": "Not found",
        "status": 404,
        "detail": "project 'default' has no run 'run_1'; list those there are",
        "code": "not_found",
        "instance": "/api/v1/projects/default/runs/run_1",
        "request_id": "req_01",
    },
}

REASONS = {
    400: "The body cannot be read.",
    401: "No token, or one that is not known.",
    403: "A browser's page of another site, or a Host that is not ours.",
    404: "There is no such thing.",
    409: "It exists already, or its state forbids the call.",
    413: "The body is larger than allowed.",
    415: "The body's media type is not taken here.",
    416: "The range lies outside the bytes.",
    422: "The input is wrong; `violations` says where.",
    429: "Busy; `Retry-After` says when to come back.",
    500: "A fault of ours.",
    503: "A service behind the gateway is away.",
    504: "A server behind the gateway did not answer in time.",
    507: "No space left in the storage.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for refusals; those that any route may give are always among them."""
    wanted = sorted({401, 403, 413, 422, 429, 500, 503, *statuses})
    content = {"application/problem+json": {"schema": {"$ref": REF + "Problem"}}}
    return {status: {"description": REASONS[status], "content": content} for status in wanted}


class Components:
    """Gathers the schemas of the messages that routes name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {"Problem": PROBLEM}

    def ref(self, message: type[Message]) -> Schema:
        """Return a reference to the message's schema, adding it and what it holds."""
        return self._ref(message.DESCRIPTOR)

    def page(self, key: str, message: type[Message]) -> Schema:
        """Return the schema of a page of messages under `key`."""
        return fields({key: {"type": "array", "items": self.ref(message)}, "next_page_token": {"type": "string"}})

    def _ref(self, descriptor: Any) -> Schema:  # noqa: ANN401 - either of protobuf's two Descriptor types
        name = descriptor.name
        if name not in self.schemas:
            self.schemas[name] = {}  # Taken first, should a message hold itself.
            self.schemas[name] = fields({json_name(one): self._field(one) for one in descriptor.fields}, title=name)
        return {"$ref": REF + name}

    def _field(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None and is_map(field):
            return {"type": "object", "additionalProperties": self._scalar(field.message_type.fields_by_name["value"])}
        if field.is_repeated:
            return {"type": "array", "items": self._scalar(field)}
        schema = self._scalar(field)
        return {"anyOf": [schema, {"type": "null"}]} if field.has_presence else schema

    def _scalar(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            is_time = field.message_type.full_name == TIMESTAMP
            return {"type": "string", "format": "date-time"} if is_time else self._ref(field.message_type)
        if field.enum_type is not None:
            return {"type": "string", "enum": list(state_names(field.enum_type).values())}
        if is_json(field):
            return {"description": "Free JSON; null if there is none."}
        if field.type in FLOATS:
            return FLOAT
        if field.type in INTEGERS:
            return {"type": "integer"}
        return {"type": "boolean" if field.type == FieldDescriptor.TYPE_BOOL else "string"}


def fields(properties: dict[str, Schema], *, title: str = "") -> Schema:
    """Return an object schema that has all of `properties`."""
    named = {"title": title} if title else {}
    return {**named, "type": "object", "required": list(properties), "properties": properties}


COMPONENTS = Components()
"""Schemas named by routes; filled as the routers are read, which is when routes are declared."""


def gives(schema: Schema, description: str, *, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI response of a success."""
    return {status: {"description": description, "content": {"application/json": {"schema": schema}}}}


def gives_bytes(description: str, media_type: str = "application/octet-stream") -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI response of a success that is no JSON."""
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "Done; there is nothing to say."}}
"""The OpenAPI response of a success without a body."""

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; `Last-Event-ID` goes on behind the last one seen.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
"""The OpenAPI response of an event stream."""

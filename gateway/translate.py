"""Messages as JSON values: snake_case, parsed `*_json`, RFC 3339 times, lower-case states."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

JSON_SUFFIX = "_json"
TIMESTAMP = "google.protobuf.Timestamp"


def to_value(message: Message) -> dict[str, Any]:
    """Return the message as a JSON object: unset messages and `optional`s are null, all else has its value."""
    return _converter(message.DESCRIPTOR)(message)


def rfc3339(seconds: float | None) -> str | None:
    """Return `2026-01-31T12:00:00.123456Z` for seconds since 1970."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def finite(value: float) -> float | str:
    """Return a float as JSON can carry it: NaN and infinities by their names, as proto3's JSON does."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def json_name(field: FieldDescriptor) -> str:
    """Return the field's name in JSON."""
    return field.name.removesuffix(JSON_SUFFIX) if is_json(field) else field.name


def is_json(field: FieldDescriptor) -> bool:
    """Say whether the field holds JSON text."""
    return field.name.endswith(JSON_SUFFIX) and field.type == FieldDescriptor.TYPE_STRING


def state_names(enum: EnumDescriptor) -> dict[int, str]:
    """Return the values' names without their common prefix, in lower case: `JOB_STATE_QUEUED` is `queued`."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


def is_map(field: FieldDescriptor) -> bool:
    """Say whether the field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


@cache
def _converter(descriptor: Descriptor) -> Callable[[Any], dict[str, Any]]:
    readers = [(json_name(field), _reader(field)) for field in descriptor.fields]

    def convert(message: Any) -> dict[str, Any]:  # noqa: ANN401 - any message of the descriptor
        return {name: read(message) for name, read in readers}

    return convert


def _reader(field: FieldDescriptor) -> Callable[[Any], Any]:
    name = field.name
    if field.message_type is not None and is_map(field):
        convert = _scalar(field.message_type.fields_by_name["value"])
        return lambda message: {str(key): convert(value) for key, value in getattr(message, name).items()}
    convert = _scalar(field)
    if field.is_repeated:
        return lambda message: [convert(value) for value in getattr(message, name)]
    if field.has_presence:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name))


def _scalar(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.message_type is not None:
        if field.message_type.full_name == TIMESTAMP:
            return _timestamp
        return _converter(field.message_type)
    if field.enum_type is not None:
        names = state_names(field.enum_type)
        return lambda value: names.get(value, str(value))
    if is_json(field):
        return _parsed
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return finite
    return _same


def _same(value: Any) -> Any:  # noqa: ANN401 - a JSON scalar
    return value


def _timestamp(value: Any) -> str | None:  # noqa: ANN401 - a Timestamp
    return rfc3339(value.seconds + value.nanos / 1e9)


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON value
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # A foreign client's own text; better shown than lost.
        return text

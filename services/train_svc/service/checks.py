"""What callers may send: lengths, characters, JSON, digests."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from services.common.digest import check_digest
from services.common.errors import InvalidError, Violation
from services.train_svc.models import File

MAX_KEY_CHARS = 250
MAX_TEXT_CHARS = 8000
MAX_NAME_CHARS = 200
MAX_JSON_CHARS = 1 << 20
MAX_PATH_CHARS = 500


def check_text(text: str, field: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Return a text that fits and holds no NUL, or raise InvalidError."""
    if len(text) > limit:
        raise InvalidError(f"{field} has {len(text)} characters; at most {limit} are kept", field=field)
    if "\0" in text:
        raise InvalidError(f"{field} holds a NUL character; leave it out", field=field)
    return text


def check_line(text: str, field: str, limit: int = MAX_NAME_CHARS) -> str:
    """Return a text of one line without control characters, or raise InvalidError."""
    check_text(text, field, limit)
    if not text.isprintable():
        raise InvalidError(f"{field} {text!r} holds control characters; use printable ones", field=field)
    return text


def check_key(key: str, field: str) -> str:
    """Return the name of a metric, parameter or tag, or raise InvalidError."""
    if not key:
        raise InvalidError(f"{field} has an empty name; give it one", field=field)
    return check_line(key, field, MAX_KEY_CHARS)


def check_values(values: Mapping[str, str], field: str) -> dict[str, str]:
    """Return parameters or tags that may be kept, or raise InvalidError."""
    return {check_key(key, field): check_text(text, f"{field}.{key}") for key, text in values.items()}


def check_json(text: str, field: str) -> dict[str, Any]:
    """Return a JSON object; an empty text is an empty one."""
    check_text(text, field, MAX_JSON_CHARS)
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{field} is not JSON: {error}", field=field) from error
    if not isinstance(value, dict):
        raise InvalidError(f"{field} is a JSON {type(value).__name__}; give an object", field=field)
    return value


def check_optional_digest(text: str, field: str) -> str:
    """Return a digest or an empty text, or raise InvalidError."""
    return check_digest(text, field) if text else ""


def check_files(files: Iterable[File], field: str) -> tuple[File, ...]:
    """Return files with sound, distinct paths and digests, by path; all faults are named together."""
    found = sorted(files, key=lambda file: file.path)
    faults = [Violation(field=f"{field}.{file.path}", message=why) for file in found if (why := _fault(file))]
    paths = [file.path for file in found]
    twice = sorted({path for path in paths if paths.count(path) > 1}) if len(set(paths)) < len(paths) else []
    faults += [Violation(field=f"{field}.{path}", message=f"{path!r} is given twice") for path in twice]
    if not found:
        faults = [Violation(field=field, message="no files are given")]
    if faults:
        raise InvalidError("; ".join(fault.message for fault in faults[:5]), violations=faults)
    return tuple(found)


def _fault(file: File) -> str:
    try:
        check_line(file.path, "path", MAX_PATH_CHARS)
        check_digest(file.digest, file.path)
    except InvalidError as error:
        return error.message
    parts = file.path.split("/")
    if not file.path or "\\" in file.path or any(part in ("", ".", "..") for part in parts):
        return f"path {file.path!r} must be relative, with forward slashes and without '.', '..' or empty parts"
    return f"{file.path} has a negative size" if file.size < 0 else ""

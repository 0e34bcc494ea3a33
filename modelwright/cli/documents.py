"""YAML and JSON files that users wrote."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from services.common.errors import InvalidError


def read_text(path: Path) -> str:
    """Return a file's text; `-` is standard input.

    Raises:
        InvalidError: there is no such file, or it is not text.
    """
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidError(f"{path} cannot be read ({error.strerror}); check the path", field="file") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8", field="file") from error


def read_document(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON file holds; faults are told with their line.

    Raises:
        InvalidError: it is no YAML, or no mapping.
    """
    return parse_document(read_text(path), str(path))


def parse_document(text: str, name: str) -> dict[str, Any]:
    """Return the mapping in YAML text, read exactly as the gateway reads it (YAML 1.2: `1e-3` is a number).

    Raises:
        InvalidError: it is no YAML, or no mapping.
    """
    # The gateway's reader needs no more than PyYAML; two readers would disagree some day.
    value = import_module("gateway.lifecycles.document").parse_yaml(text).value
    if not isinstance(value, dict):
        raise InvalidError(f"{name} holds no mapping; it begins with lines of the form 'key: value'", field="file")
    return value

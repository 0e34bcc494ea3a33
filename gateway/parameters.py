"""Parameters that many routes take, with their bounds, and the checked reading of free JSON."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import InvalidError
from services.common.paging import MAX_PAGE_SIZE

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
REF_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,255}$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
INT64_MAX = (1 << 63) - 1
INT32_MAX = (1 << 31) - 1
MAX_TEXT = 10_000
MAX_DEPTH = 32

Project = Annotated[str, Path(pattern=NAME_PATTERN, description="Project name.", examples=["default"])]
NamePath = Annotated[str, Path(pattern=NAME_PATTERN, description="Name of the thing.", examples=["digits"])]
IdPath = Annotated[str, Path(pattern=ID_PATTERN, description="Id of the thing.")]
RefPath = Annotated[
    str, Path(pattern=REF_PATTERN, description="`digits`, `digits:3` or `sha256:…`.", examples=["digits:1"])
]
VersionPath = Annotated[
    str, Path(pattern=REF_PATTERN, description="A version's number, digest or alias.", examples=["champion"])
]
DigestPath = Annotated[str, Path(pattern=DIGEST_PATTERN, description="`sha256:` and 64 hex digits.")]
PageSize = Annotated[int, Query(ge=0, le=MAX_PAGE_SIZE, description="Entries a page; 0: the default, 50.")]
PageToken = Annotated[
    str, Query(max_length=2000, pattern=PRINTABLE_PATTERN, description="`next_page_token` of the page before.")
]
TextQuery = Annotated[str, Query(max_length=2000, pattern=PRINTABLE_PATTERN)]

Name = Annotated[str, Field(pattern=NAME_PATTERN, examples=["digits"])]
OptionalName = Annotated[str, Field(pattern=NAME_PATTERN + "|^$")]
Ref = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,255}$")]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
OptionalDigest = Annotated[str, Field(pattern=DIGEST_PATTERN + "|^$")]
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]
Line = Annotated[str, Field(max_length=1000, pattern=PRINTABLE_PATTERN)]
Size = Annotated[int, Field(ge=0, le=INT64_MAX, strict=True)]
Int64 = Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX, strict=True)]
Int32 = Annotated[int, Field(ge=-INT32_MAX, le=INT32_MAX, strict=True)]
FilePath = Annotated[str, Field(min_length=1, max_length=1000, pattern=PRINTABLE_PATTERN)]
JsonObject = dict[str, Any]
Words = Annotated[dict[Annotated[str, Field(max_length=250, pattern=PRINTABLE_PATTERN)], Text], Field(max_length=1000)]


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Which page of a list is wanted."""

    page_size: PageSize = 0
    page_token: PageToken = ""


Page = Annotated[Paging, Depends()]

PLAIN_PATH = re.compile(r"(?!/)(?:(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f]+(?:/|$))+(?<!/)")


class Body(BaseModel):
    """A request's body: unknown fields are refused, so that a typing error is not taken for silence."""

    model_config = ConfigDict(extra="forbid")


class FileBody(Body):
    """A file whose bytes are in the storage already, under their digest."""

    path: FilePath
    digest: Digest
    size: Size


def json_text(value: object, field: str) -> str:
    """Return free JSON as text for a service.

    Raises:
        InvalidError: it nests deeper than is read, or holds an integer JSON readers differ on.
    """
    todo: list[tuple[object, int]] = [(value, 1)]
    while todo:
        item, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise InvalidError(f"{field} nests deeper than {MAX_DEPTH} levels; flatten it", field=field)
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        todo.extend((child, depth + 1) for child in children)
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise InvalidError(f"{field} cannot be sent on: {error}", field=field) from error


def check_paths(paths: list[str], field: str) -> None:
    """Refuse file paths that are absolute, climb, or stand twice."""
    for path in paths:
        if not PLAIN_PATH.fullmatch(path):
            raise InvalidError(f"{path!r} is not a relative path with forward slashes and no '..'", field=field)
    if len(set(paths)) != len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise InvalidError(f"{twice!r} stands twice; give each file once", field=field)

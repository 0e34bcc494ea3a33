"""Each section checked by the service that owns it, with its complaints brought back to the document's lines."""

import asyncio
import re
from collections.abc import Awaitable
from typing import Any

from gateway.lifecycles import requests
from gateway.lifecycles.document import Document, LocatedViolation, Path, invalid
from gateway.lifecycles.spec import LifecycleSpec
from gateway.upstream import Upstream
from proto.gen.modelwright.data.v1 import dataset_pb2
from services.common.errors import InvalidError, NotFoundError, Violation
from services.common.rpc import acall

OWN_PREFIXES = ("spec_json", "recipe_json", "options_json", "spec", "recipe")
"""What services call the section that a document calls by its own name."""
RENAMED: dict[tuple[str, str], Path] = {
    ("data", "name"): ("dataset",),
    ("data", "upload_ids"): ("uploads",),
    ("data", "fractions"): ("split",),
    ("serve", "name"): ("deployment",),
    ("serve", "model_ref"): (),
}
"""Where a request's field stands in the document, if under another name."""
PART = re.compile(r"[^.\[\]]+|\[(\d+)\]")


async def check_sections(spec: LifecycleSpec, upstream: Upstream) -> None:
    """Ask every service about its section, all at once.

    Raises:
        InvalidError: with every section's faults, at their lines.
        UnavailableError: a service could not be asked.
    """
    checks: dict[str, Awaitable[Any]] = {}
    if spec.data.commits:
        checks["data"] = acall(upstream.data.CommitDataset, requests.commit(spec))
    else:
        checks["data"] = _find_version(spec, upstream)
    if spec.train is not None:
        checks["train"] = acall(upstream.runs.SubmitTraining, requests.training(spec))
    if spec.compress is not None:
        checks["compress"] = acall(upstream.compressions.SubmitCompression, requests.compression(spec))
    if spec.serve is not None:
        request = requests.deployment(spec.serve, spec.project)
        checks["serve"] = acall(upstream.deployments.ApplyDeployment, request)
    answers = await asyncio.gather(*checks.values(), return_exceptions=True)
    violations: list[LocatedViolation] = []
    for section, answer in zip(checks, answers, strict=True):
        if isinstance(answer, InvalidError):
            violations += _located(spec.document, section, answer)
        elif isinstance(answer, BaseException):
            raise answer
    if violations:
        raise invalid(violations, "the lifecycle")


async def _find_version(spec: LifecycleSpec, upstream: Upstream) -> None:
    request = dataset_pb2.GetVersionRequest(project=spec.project, ref=spec.data.dataset)
    try:
        await acall(upstream.data.GetVersion, request)
    except NotFoundError as error:
        raise InvalidError(error.message, field="dataset") from error


def _located(document: Document, section: str, error: InvalidError) -> list[LocatedViolation]:
    found = error.violations or (Violation(field="", message=error.message),)
    return [document.violation(section_path(document.value, section, one.field), one.message) for one in found]


def section_path(value: Any, section: str, field: str) -> Path:  # noqa: ANN401 - the document's value
    """Return where a service's `field` stands in the document, as far as it can be followed there."""
    parts: list[str | int] = []
    for match in PART.finditer(field):
        parts.append(int(match[1]) if match[1] else match[0])
    while parts and (parts[0] in OWN_PREFIXES or parts[0] == section):
        parts.pop(0)
    if section == "data" and parts[:1] == ["split"] and parts[1:2] in (["fractions"], ["seed"], ["stratify"]):
        parts.pop(0)
    if section == "serve" and parts[:1] not in (["options"], ["name"], ["model_ref"]):
        parts = ["options", *parts]
    if parts and isinstance(parts[0], str):
        parts[:1] = RENAMED.get((section, parts[0]), (parts[0],))
    path: Path = (section, *parts)
    return _without_added_variant(value, path) if path[:2] == ("compress", "variants") else path


def _without_added_variant(value: Any, path: Path) -> Path:  # noqa: ANN401 - the document's value
    """Count variants as the document does, not as the recipe with its added uncompressed one does."""
    index = next(iter(path[2:3]), None)
    stated = (value.get("compress") or {}).get("variants")
    added = isinstance(stated, list) and not any(
        isinstance(one, dict) and one.get("name") == requests.UNCOMPRESSED for one in stated
    )
    shifted = added and isinstance(index, int) and index > 0
    return (*path[:2], index - 1, *path[3:]) if shifted and isinstance(index, int) else path

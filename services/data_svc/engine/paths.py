"""Which names of files are taken, and how they are written."""

import unicodedata

from services.data_svc.engine.findings import Findings
from services.data_svc.engine.limits import ScanLimits

IGNORED_NAMES = {"__MACOSX", "Thumbs.db", "desktop.ini"}
MAX_PATH_CHARACTERS = 1024


def clean_path(name: str, limits: ScanLimits) -> tuple[str, str]:
    """Return the path as it is kept (NFC, no `./`, no trailing slash) and why it is refused, or ''."""
    if not name.isprintable() or "\\" in name:
        return name, _odd_character(name)
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    if name.startswith("/") or name[1:2] == ":":
        return name, "is an absolute path; use paths relative to the archive"
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        return name, "leads out of the archive by '..'"
    if len(parts) > limits.max_depth:
        return name, f"lies {len(parts)} folders deep; the limit is {limits.max_depth}"
    if len(name) > MAX_PATH_CHARACTERS:
        return name, f"has a path of {len(name)} characters; the limit is {MAX_PATH_CHARACTERS}"
    return "/".join(parts), ""


def is_ignored(path: str) -> bool:
    """Return whether the file is one that systems leave behind: hidden files, `__MACOSX`, `Thumbs.db`."""
    return any(part.startswith(".") or part in IGNORED_NAMES for part in path.split("/"))


def check_path(name: str, limits: ScanLimits, findings: Findings) -> str | None:
    """Return the path as it is kept; None if it is to be passed over, with a fault noted if it is refused."""
    path, problem = clean_path(name, limits)
    if problem:
        findings.fault(name, problem)
        return None
    return None if not path or is_ignored(path) else path


def _odd_character(name: str) -> str:
    if "\\" in name:
        return "has a backslash in its name; use forward slashes between folders"
    if any("\udc80" <= char <= "\udcff" for char in name):
        return "has a name that is not UTF-8; rename it"
    return "has a control or invisible character in its name; rename it"

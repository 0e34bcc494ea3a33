"""Dataset versions made and read in Python, with no service running.

    from modelwright.data import RecordSet, SampleOrder, commit_files, CommitOptions, SplitPolicy, Source

Names load when they are first used, so that importing this takes milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.common.records import Record, RecordSet, RecordWriter, SampleOrder
    from services.data_svc.engine.archives import Source
    from services.data_svc.engine.commit import CommitOptions, Committed, commit_files
    from services.data_svc.engine.limits import ScanLimits
    from services.data_svc.engine.split import SplitPolicy

__all__ = [
    "CommitOptions",
    "Committed",
    "Record",
    "RecordSet",
    "RecordWriter",
    "SampleOrder",
    "ScanLimits",
    "Source",
    "SplitPolicy",
    "commit_files",
]

_RECORDS = "services.common.records"
_ENGINE = "services.data_svc.engine"
_HOMES = {
    "CommitOptions": f"{_ENGINE}.commit",
    "Committed": f"{_ENGINE}.commit",
    "Record": _RECORDS,
    "RecordSet": _RECORDS,
    "RecordWriter": _RECORDS,
    "SampleOrder": _RECORDS,
    "ScanLimits": f"{_ENGINE}.limits",
    "Source": f"{_ENGINE}.archives",
    "SplitPolicy": f"{_ENGINE}.split",
    "commit_files": f"{_ENGINE}.commit",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Return a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)

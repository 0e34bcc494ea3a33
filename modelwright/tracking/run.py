"""A run, as the training script holds it."""

import numbers
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

from modelwright.tracking.records import Ended, Kept, Logged, Packaged, read_run
from modelwright.tracking.session import Session
from services.common.errors import ConflictError, InvalidError
from services.common.ids import new_id

FINISH_TIMEOUT_S = 10.0
MAX_KEY = 250


class Run:
    """What a training script logs to. No call waits for the server; use it from any thread.

    Made by `modelwright.start_run`. `key` names the run before the server has
    given it an id; `id` is empty until then.
    """

    def __init__(self, session: Session, key: str, name: str) -> None:
        self.key = key
        self.name = name
        self._session = session
        self._lock = threading.Lock()
        self._step = -1
        self._has_ended = False

    def __enter__(self) -> Self:
        """Return the run; leaving the block finishes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the run: succeeded, failed with the exception, or cancelled by Ctrl-C."""
        if kind is None:
            self.finish()
        elif issubclass(kind, KeyboardInterrupt):
            self.finish("cancelled", error="interrupted")
        else:
            self.finish("failed", error=f"{kind.__name__}: {error}")

    @property
    def id(self) -> str:
        """The server's id of the run; empty while the server does not know it yet."""
        return read_run(self._session.runs, self.key).run_id

    def log_metrics(self, metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        """Log values at a step; without a step, one behind the highest so far. (run, key, step) is written once.

        Raises:
            InvalidError: a value is no number.
        """
        self._check_open()
        values = {_key(key): _float(key, value) for key, value in metrics.items()}
        with self._lock:
            step = self._step + 1 if step is None else int(step)
            self._step = max(self._step, step)
        self._session.put(Logged(run=self.key, time=time.time(), step=step, metrics=values))

    def log_metric(self, key: str, value: SupportsFloat, step: int | None = None) -> None:
        """Log one value; see `log_metrics`."""
        self.log_metrics({key: value}, step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log what the run was given; nested mappings become `a.b` keys, values their text."""
        self._check_open()
        self._session.put(Logged(run=self.key, params=flat(params)))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set labels of the run; a later value replaces an earlier one."""
        self._check_open()
        self._session.put(Logged(run=self.key, tags=flat(tags)))

    def log_artifact(self, path: str | Path, name: str = "") -> None:
        """Keep a file, or every file of a folder, with the run under its own or the given name.

        The file is copied first, so that it may change or go at once afterwards.

        Raises:
            InvalidError: there is no such file.
        """
        self._check_open()
        found = Path(path)
        if not found.exists():
            raise InvalidError(f"there is no file or folder {found} to log; check the path", field="path")
        files = sorted(file for file in found.rglob("*") if file.is_file()) if found.is_dir() else [found]
        for file in files:
            inner = file.relative_to(found).as_posix() if found.is_dir() else ""
            copy = self._copy_place()
            shutil.copyfile(file, copy)
            kept = "/".join(part for part in (name or found.name, inner) if part)
            self._session.put(Kept(run=self.key, copy=str(copy), path=kept))

    def log_model(self, folder: str | Path, name: str, *, variant: str = "trained", dataset_digest: str = "") -> None:
        """Register a model package (a folder) as a version of `name` that this run produced.

        Raises:
            InvalidError: there is no such folder.
        """
        self._check_open()
        found = Path(folder)
        if not found.is_dir():
            raise InvalidError(f"{found} is not a folder; give the folder of a model package", field="folder")
        copy = self._copy_place()
        shutil.copytree(found, copy)
        entry = Packaged(run=self.key, copy=str(copy), name=name, variant=variant, dataset_digest=dataset_digest)
        self._session.put(entry)

    def flush(self, timeout_s: float = FINISH_TIMEOUT_S) -> bool:
        """Wait until the server has everything; False if it did not within the time. Nothing is lost then."""
        return self._session.flush(timeout_s)

    def finish(self, state: str = "succeeded", *, error: str = "", timeout_s: float = FINISH_TIMEOUT_S) -> bool:
        """End the run and wait for the server at most `timeout_s`; True once it has everything.

        A second call changes nothing.
        """
        if state not in ("succeeded", "failed", "cancelled"):
            raise InvalidError(f"a run cannot end as {state!r}; use succeeded, failed or cancelled", field="state")
        if not self._has_ended:
            self._has_ended = True
            self._session.put(Ended(run=self.key, state=state, error=error))
        return self._session.flush(timeout_s)

    def after_fork(self) -> None:
        """Let go of a lock that a thread of the parent may have held; called in the child."""
        self._lock = threading.Lock()

    def _check_open(self) -> None:
        if self._has_ended:
            raise ConflictError(f"run {self.name!r} is finished; start another with modelwright.start_run()")

    def _copy_place(self) -> Path:
        folder = self._session.copies / self.key
        folder.mkdir(parents=True, exist_ok=True)
        return folder / new_id("file")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values as one level of text: `{"a": {"b": 1}}` becomes `{"a.b": "1"}`."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[_key(f"{prefix}{key}")] = str(value)
    return found


def _key(key: str) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
        raise InvalidError(f"{key!r} is not a key; use text of 1 to {MAX_KEY} characters", field="key")
    return key


def _float(key: str, value: SupportsFloat) -> float:
    if isinstance(value, numbers.Real) or hasattr(value, "__float__"):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InvalidError(f"metric {key!r} is not one number: {error}", field=key) from error
    raise InvalidError(f"metric {key!r} is {type(value).__name__}, not a number; log it with log_params", field=key)

"""The command line, run in this process against a server."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from modelwright.cli.__main__ import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def mw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `mw` with the given arguments; `url` becomes MODELWRIGHT_URL."""

    def run(*arguments: Any, url: str = "http://127.0.0.1:9") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["mw", *map(str, arguments)])
        monkeypatch.setenv("MODELWRIGHT_URL", url)
        # Set by parallel test runs, which have no terminal.
        monkeypatch.delenv("COLUMNS", raising=False)
        with pytest.raises(SystemExit) as found:
            main()
        out, err = capsys.readouterr()
        return Outcome(int(found.value.code or 0), out, err)

    return run

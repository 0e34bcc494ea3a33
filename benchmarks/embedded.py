"""The platform as `modelwright up` starts it, on a home and a port of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from services.__main__ import status

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "modelwright.cli")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """One that runs."""

    url: str
    """Of the gateway."""
    pid: int
    """Of the process that holds services and gateway; all others are its children."""
    ready_s: float
    """From the command's start until `/readyz` said yes."""
    addresses: dict[str, str]
    """Where the services answer."""


@contextmanager
def platform(home: Path, **settings: str) -> Iterator[Platform]:
    """Run `modelwright up --detach` on `home` with these settings, and `modelwright down` at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELWRIGHT_")}
    environment |= {"MODELWRIGHT_LOG_LEVEL": "WARNING"} | settings
    start = time.perf_counter()
    try:
        _command("up", "--detach", "--home", str(home), "--port", "0", environment=environment)
        found: dict[str, Any] = status(home)
        until_answer(f"{found['url']}/readyz")
        ready_s = time.perf_counter() - start
        yield Platform(url=found["url"], pid=found["pid"], ready_s=ready_s, addresses=found["addresses"])
    finally:
        _command("down", "--home", str(home), environment=environment)


def until_answer(url: str, timeout_s: float = 120.0) -> None:
    """Return once the address answers with success.

    Raises:
        TimeoutError: it did not in time.
    """
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            if httpx.get(url, trust_env=False, timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"{url} does not answer after {timeout_s:g} s")


def _command(*arguments: str, environment: dict[str, str]) -> None:
    subprocess.run([*COMMAND, *arguments], env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

"""Ports of the embedded form: the usual ones, or others where they are taken."""

import fcntl
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import TextIO

from services.common.errors import UnavailableError

PAUSE_S = 0.02


def free_port(wanted: int) -> int:
    """Return `wanted` if it can be bound on loopback, another free port if not."""
    for number in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UnavailableError("no port is free on 127.0.0.1")


def wait_until_bound(port: int, timeout_s: float) -> bool:
    """Wait until somebody listens on the loopback port; False once the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(PAUSE_S)
    return False


class PortTurn:
    """One user's platforms choose and bind their ports in turns: two that start at once would choose the same.

    Args:
        timeout_s: how long to wait for one that is starting; it may hang, and must not hold up others for ever.
    """

    def __init__(self, timeout_s: float) -> None:
        path = Path(tempfile.gettempdir()) / f"modelwright-ports-{os.getuid()}.lock"
        self._file: TextIO = path.open("a")
        deadline = time.monotonic() + timeout_s
        while not self._taken() and time.monotonic() < deadline:
            time.sleep(PAUSE_S)

    def end(self) -> None:
        """Let the next one choose; ending twice does no harm."""
        self._file.close()

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

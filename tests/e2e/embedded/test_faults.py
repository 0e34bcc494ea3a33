"""Faults of the whole platform, caused: nothing is lost, nothing is doubled."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import redis

from services.common.embedded import redis_socket
from services.common.errors import ModelwrightError, NotFoundError, StorageFullError, UnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TRAIN = {"model": "resnet_small", "batch_size": 32, "seed": 1, "model_name": "digits", "epochs": 20}
SPEC = {**TRAIN, "checkpoint_every_s": 0.2}
STRIKE_AT = 20
"""Of the 260 steps that a run of SPEC has."""

NOT_SAVED = "is not saved yet, next try"


def until_step(platform, client, run_id, step=STRIKE_AT):
    def reached():
        run = client.runs.get(run_id)
        assert not run.has_ended, run
        return any(point.step >= step for point in run.metrics.values())

    platform.until(reached, 90)


def curves(client, run_id):
    """Return steps and values of every metric that training wrote, wall time and speed left out."""
    series = client.runs.metrics(run_id)
    assert series
    for one in series:
        assert one.steps == sorted(set(one.steps)), one.key
    return {one.key: (one.steps, one.values) for one in series if one.key in ("train_loss", "accuracy", "epoch", "lr")}


def log_of(client, job_id):
    return "\n".join(line.text for line in client.jobs.log(job_id))


def ended(client, run_id, state="succeeded"):
    list(client.runs.watch(run_id))
    run = client.runs.get(run_id)
    assert run.state == state, run.error
    return run


def lifecycle(folder, source, **train):
    path = folder / "lifecycle.yaml"
    stated = "{" + ", ".join(f"{key}: {value}" for key, value in {**SPEC, **train}.items()) + "}"
    path.write_text(f"name: digits\ndata: {{source: {source}, dataset: applied}}\ntrain: {stated}\n")
    return path


@pytest.fixture(scope="module")
def calm(client, dataset):
    """What a run gives that nothing happens to."""
    run, _ = client.runs.train("calm", SPEC, dataset)
    ended(client, run.id)
    return curves(client, run.id)


def family(process):
    return [process, *process.children(recursive=True)]


def test_a_killed_worker_costs_no_step_and_doubles_none(platform, client, dataset, calm):
    run, job = client.runs.train("struck", SPEC, dataset)
    until_step(platform, client, run.id)
    for process in family(platform.child("train_svc,compress_svc")):
        process.kill()
    ended(client, run.id)
    assert client.jobs.get(job.id).attempt == 2
    assert curves(client, run.id) == calm


def test_an_old_worker_that_wakes_after_its_lease_is_refused(platform, client, dataset, calm):
    run, job = client.runs.train("slept", SPEC, dataset)
    until_step(platform, client, run.id)
    old = family(platform.child("train_svc,compress_svc"))
    for process in old:
        process.send_signal(signal.SIGSTOP)
    second = platform.worker()
    try:
        platform.until(lambda: client.jobs.get(job.id).attempt == 2, 60)
        until_step(platform, client, run.id, STRIKE_AT + 5)
        for process in old:
            process.send_signal(signal.SIGCONT)
        ended(client, run.id)
    finally:
        second.terminate()
        second.wait(30)
    assert client.jobs.get(job.id).attempt == 2
    assert curves(client, run.id) == calm
    log = (platform.home / "logs" / "worker-models.log").read_text()
    assert f"{job.id}" in log
    assert "lease" in log


def test_jobs_whose_bells_were_wiped_still_run(platform, client, dataset):
    jobs = [client.runs.train(f"queued-{i}", {**SPEC, "epochs": 1}, dataset)[1] for i in range(3)]
    with redis.Redis(unix_socket_path=str(redis_socket(platform.home))) as broker:
        broker.flushall()
    assert [client.jobs.wait(job.id).state for job in jobs] == ["succeeded"] * 3


def test_a_cancelled_run_keeps_its_last_checkpoint_and_goes_on_from_it(platform, client, dataset, calm):
    run, job = client.runs.train("cancelled", SPEC, dataset)
    until_step(platform, client, run.id)
    client.jobs.cancel(job.id)
    ended(client, run.id, "cancelled")
    last = max(checkpoint.step for checkpoint in client.runs.checkpoints(run.id))
    assert last >= STRIKE_AT
    _, again = client.runs.resume(run.id)
    ended(client, run.id)
    assert f"goes on at step {last} of 260" in log_of(client, again.id)
    assert curves(client, run.id) == calm


def test_two_applies_of_the_same_file_at_once_give_one_result(platform, client, digits, tmp_path):
    file = lifecycle(tmp_path, digits, epochs=1)
    command = [sys.executable, "-m", "modelwright.cli", "apply", "-f", str(file), "-o", "json"]
    environment = {**platform.environment, "MODELWRIGHT_URL": platform.url}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        process.communicate(timeout=120)
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(client.datasets.versions("applied"))) == 1
    assert len([run for run in client.runs.list() if run.name == "digits"]) == 1


@pytest.mark.parametrize("blow", ["stop", "kill"])
def test_a_platform_struck_in_mid_lifecycle_goes_on_with_it(platform, client, digits, tmp_path, blow):
    # Another seed a blow: the stages of one must not be found by the other.
    document = lifecycle(tmp_path, digits, seed=2 + (blow == "kill")).read_text()
    upload = client.uploads.push(digits)
    document = document.replace(f"source: {digits}", f"uploads: [{{id: {upload.id}, digest: '{upload.digest}'}}]")
    applied = client.lifecycles.create(document)
    run_id = platform.until(lambda: client.lifecycles.get(applied.id).stages[1].run_id, 60)
    until_step(platform, client, run_id)
    strangers = []

    def ask():
        try:
            client.runs.get(run_id)
        except UnavailableError:
            time.sleep(0.1)
        except ModelwrightError as error:
            strangers.append(error)

    with concurrent.futures.ThreadPoolExecutor(1) as asking:
        restarted = asking.submit(getattr(platform, blow))
        while not restarted.done():
            ask()
    platform.start()
    done = list(client.lifecycles.watch(applied.id))[-1]
    assert done.state == "succeeded", done
    assert not strangers
    assert curves(client, run_id)["train_loss"][0] == list(range(1, 301))


@pytest.fixture(scope="module")
def s3(short_tmp, unused_port, wait_for_port):
    """An S3 server that can go away and come back."""

    class Server:
        port = unused_port()

        def start(self):
            command = [os.path.join(os.path.dirname(sys.executable), "rclone"), "serve", "s3"]
            command += ["--addr", f"127.0.0.1:{self.port}", "--auth-key", "access,secret"]
            command += ["--vfs-cache-mode", "writes", "--cache-dir", str(short_tmp / "s3-cache")]
            (short_tmp / "s3" / "bucket").mkdir(parents=True, exist_ok=True)
            self.process = subprocess.Popen([*command, str(short_tmp / "s3")], stderr=subprocess.DEVNULL)
            wait_for_port(self.port)

        def kill(self):
            self.process.kill()
            self.process.wait()

    server = Server()
    server.start()
    yield server
    server.kill()


def test_training_outlives_an_s3_that_is_away_and_says_so_if_it_stays(start_platform, s3, digits):
    platform = start_platform(
        storage_url="s3://bucket",
        s3_endpoint=f"http://127.0.0.1:{s3.port}",
        s3_access_key="access",
        s3_secret_key="secret",
    )
    with platform.client() as client:
        version = client.datasets.wait(client.datasets.push("digits", digits)).digest
        run, job = client.runs.train("away", {**SPEC, "epochs": 100, "checkpoint_retry_s": 60}, version)
        until_step(platform, client, run.id, 5)
        s3.kill()
        platform.until(lambda: NOT_SAVED in log_of(client, job.id))
        reached = client.runs.get(run.id).metrics["train_loss"].step
        until_step(platform, client, run.id, reached + 5)
        s3.start()
        ended(client, run.id)
        assert client.jobs.get(job.id).attempt == 1
        assert curves(client, run.id)["train_loss"][0][-1] == 1500
        run, _ = client.runs.train("lost", {**SPEC, "epochs": 1000, "checkpoint_retry_s": 1}, version)
        until_step(platform, client, run.id, 5)
        s3.kill()
        error = ended(client, run.id, "failed").error
        assert "could not be stored" in error
        assert "Bring the storage back and resume the run" in error
        s3.start()


def test_a_full_disk_is_told_and_leaves_nothing_half_written(start_platform, small_disk):
    platform = start_platform(home=small_disk / "home")
    ballast = small_disk / "ballast"
    pictures = np.random.default_rng(0)
    with platform.client() as client:
        source = small_disk.parent / "data.tar"
        write_noise(source, pictures)
        upload = client.uploads.push(source)
        fill(ballast, leave=1 << 20)
        with pytest.raises(StorageFullError, match="free"):
            client.uploads.push(write_noise(small_disk.parent / "more.tar", pictures))
        ended_job = client.jobs.wait(client.datasets.commit("noise", [upload.id]).id)
        assert ended_job.state == "failed"
        assert "free space" in ended_job.error
        with pytest.raises(NotFoundError):
            client.datasets.get("noise")
        ballast.unlink()
        assert client.datasets.wait(client.datasets.commit("noise", [upload.id])).samples == 40


def write_noise(path, random):
    """Write a tar of 40 pictures, 4 MB in all."""
    import io
    import tarfile

    from PIL import Image

    with tarfile.open(path, "w") as archive:
        for i in range(40):
            out = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (316, 316), dtype="uint8"), mode="L").save(out, "PNG")
            info = tarfile.TarInfo(f"{'ab'[i % 2]}/{i}.png")
            info.size = out.tell()
            archive.addfile(info, io.BytesIO(out.getvalue()))
    return path


def fill(path, leave):
    """Write zeros until `leave` bytes of the disk are free."""
    with path.open("wb") as file:
        while psutil.disk_usage(str(path.parent)).free > leave:
            file.write(bytes(1 << 18))
            file.flush()


@pytest.fixture
def small_disk(short_tmp):
    """A disk of 64 MB."""
    folder = short_tmp / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)

"""Faults of the whole platform, caused: nothing is lost."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPEC = {"model": "resnet_small", "batch_size": 32, "seed": 1, "model_name": "digits"}


def train(client, dataset, name, epochs):
    return client.runs.train(name, {**SPEC, "epochs": epochs}, dataset)


def until_step(platform, client, run_id, step):
    def reached():
        run = client.runs.get(run_id)
        assert run.state not in ("failed", "cancelled"), run.error
        return any(point.step >= step for point in run.metrics.values())

    platform.until(reached, 90)


def steps(client, run_id, key):
    (series,) = client.runs.metrics(run_id, keys=[key])
    return list(series.steps)


def test_a_killed_worker_costs_no_step_and_doubles_none(platform, client, dataset):
    calm, _ = train(client, dataset, "calm", 6)
    list(client.runs.watch(calm.id))
    run, job = train(client, dataset, "struck", 6)
    until_step(platform, client, run.id, 20)
    worker = platform.child("train_svc,compress_svc")
    for process in [*worker.children(recursive=True), worker]:
        process.kill()
    list(client.runs.watch(run.id))
    assert client.runs.get(run.id).state == "succeeded"
    assert client.jobs.get(job.id).attempt == 2
    for key in client.runs.get(calm.id).metrics:
        if key.startswith("train"):
            assert steps(client, run.id, key) == steps(client, calm.id, key), key


def test_a_cancelled_run_keeps_its_last_checkpoint_and_goes_on(platform, client, dataset):
    run, job = train(client, dataset, "cancelled", 200)
    until_step(platform, client, run.id, 10)
    client.jobs.cancel(job.id)
    list(client.jobs.watch(job.id))
    assert client.runs.get(run.id).state == "cancelled"
    assert client.runs.checkpoints(run.id)


def test_a_platform_restarted_in_mid_training_goes_on(platform, client, dataset):
    run, _ = train(client, dataset, "restarted", 8)
    until_step(platform, client, run.id, 10)
    platform.stop()
    platform.start()
    with platform.client() as again:
        list(again.runs.watch(run.id))
        assert again.runs.get(run.id).state == "succeeded"
        seen = steps(again, run.id, next(k for k in again.runs.get(run.id).metrics if k.startswith("train")))
    assert seen == sorted(set(seen))

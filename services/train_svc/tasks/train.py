"""The body of a `train` job."""

import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from proto.gen.modelwright.common.v1.job_pb2 import Lease as LeaseMessage
from services.common.errors import ModelwrightError
from services.common.jobs.context import JobContext, JobStopped
from services.common.records import RecordSet
from services.common.rpc import Peer
from services.common.storage import BlobStore, open_storage
from services.train_svc.engine.dataset import PictureDataset
from services.train_svc.engine.ports import Ports
from services.train_svc.engine.session import Assignment, Stopped, carry_out
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.finishing import Outcome
from services.train_svc.tasks.outbox import MetricOutbox, OrderedCheckpoints
from services.train_svc.tasks.remote import RemoteDatasets, RemoteRegistry, RemoteRun
from services.train_svc.tasks.surroundings import describe_surroundings

LOG = logging.getLogger("modelwright.train")


def train(context: JobContext) -> dict[str, Any]:
    """Carry out the run that the job names, and register what it made.

    Returns:
        `run_id`, `model_digest`, and `metrics` as the card holds them.

    Raises:
        JobStopped: asked to leave; the last checkpoint is saved.
        StaleLeaseError: another worker has the job.
        ModelwrightError: the run failed; the message says why and what to do.
    """
    lease = LeaseMessage(job_id=context.lease.job_id, token=context.lease.token)
    settings, job = context.settings, context.job
    run_id = str(job.spec["run_id"])
    spec = TrainSpec.from_mapping(job.spec["spec"])
    blobs = BlobStore(open_storage(settings))
    runs = Peer(settings.train_address, settings.tls)
    run = RemoteRun(runs, blobs, run_id, lease)
    context.report(progress=0.0, message="opening the dataset")
    digest = RemoteDatasets(Peer(settings.data_address, settings.tls)).manifest_digest(
        job.project, str(job.spec["dataset_digest"])
    )
    dataset = PictureDataset(records=RecordSet.open(blobs, digest, settings.home / "cache" / "records"))
    with _scratch(settings.home / "work", job.id) as folder:
        assignment = Assignment(
            spec=spec,
            run_id=run_id,
            folder=folder,
            submitted_at=job.created_at,
            resume_from=run.newest_checkpoint(folder / "resumed"),
        )
        outcome = _carry_out(assignment, dataset, run, context)
        model_digest = RemoteRegistry(runs, blobs, lease).register(
            outcome.package.folder, project=job.project, name=spec.model_name, run_id=run_id, dataset_digest=digest
        )
    metrics = {name: msgspec.to_builtins(metric) for name, metric in outcome.card.items()}
    return {"run_id": run_id, "model_digest": model_digest, "metrics": metrics}


def _carry_out(assignment: Assignment, dataset: PictureDataset, run: RemoteRun, context: JobContext) -> Outcome:
    metrics = MetricOutbox(assignment.folder / "metrics", run.send_points)
    # Looking at packages and hardware takes longer than a step: not before the first one.
    threading.Thread(target=_record_surroundings, args=(run,), name="surroundings", daemon=True).start()
    ports = Ports(
        metrics=metrics,
        progress=context,
        checkpoints=OrderedCheckpoints(metrics, run),
        stop=lambda: context.stop_requested,
    )
    try:
        outcome = carry_out(assignment, dataset, ports)
        metrics.flush()
    except Stopped as stopped:
        raise JobStopped(str(stopped)) from stopped
    finally:
        metrics.close()
    return outcome


def _record_surroundings(run: RemoteRun) -> None:
    try:
        run.set_tags(describe_surroundings())
    except ModelwrightError as error:
        LOG.warning("the run's surroundings are not recorded: %s", error)


@contextmanager
def _scratch(root: Path, job_id: str) -> Iterator[Path]:
    root.mkdir(parents=True, exist_ok=True)
    # An attempt that was killed could not clean up.
    for old in root.glob(f"{job_id}-*"):
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{job_id}-", dir=root, ignore_cleanup_errors=True) as folder:
        yield Path(folder)

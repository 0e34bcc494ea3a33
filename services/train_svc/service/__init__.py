"""Use cases of train_svc, by what they are about: runs, metrics, files of runs, models, lineage."""

from services.train_svc.service.files import FileService
from services.train_svc.service.ingest import Ingest
from services.train_svc.service.metrics import MetricService
from services.train_svc.service.registry import RegistryService
from services.train_svc.service.runs import RunRequest, RunService, TrainRequest

__all__ = ["FileService", "Ingest", "MetricService", "RegistryService", "RunRequest", "RunService", "TrainRequest"]

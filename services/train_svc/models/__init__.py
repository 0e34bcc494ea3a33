"""Tables of train_svc and the plain records that use cases pass around."""

from services.train_svc.models.records import (
    ACTIVE,
    ENDED,
    AliasEvent,
    Checkpoint,
    Entry,
    File,
    Lineage,
    LineageEdge,
    LineageNode,
    Model,
    ModelVersion,
    Point,
    Run,
    RunState,
    Series,
)
from services.train_svc.models.tables import JOBS, METADATA, SCHEMA

__all__ = [
    "ACTIVE",
    "ENDED",
    "JOBS",
    "METADATA",
    "SCHEMA",
    "AliasEvent",
    "Checkpoint",
    "Entry",
    "File",
    "Lineage",
    "LineageEdge",
    "LineageNode",
    "Model",
    "ModelVersion",
    "Point",
    "Run",
    "RunState",
    "Series",
]

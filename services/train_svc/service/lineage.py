"""What came from what: dataset version -> run -> model version -> compressed children."""

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from services.common.digest import PATTERN
from services.common.errors import NotFoundError
from services.train_svc.models import Lineage, LineageEdge, LineageNode, ModelVersion
from services.train_svc.repository import registry, runs

DATASET, RUN, VERSION = "dataset_version", "run", "model_version"


def trace(session: Session, project: str, node_id: str) -> Lineage:
    """Return everything that the node came from and everything that it led to; edges point from cause to result.

    Raises:
        NotFoundError: no run or model version has that id or digest, nor did any come from such a dataset.
    """
    tracer = _Tracer(session, project)
    if not PATTERN.fullmatch(node_id):
        if runs.get_run(session, node_id).project != project:
            raise NotFoundError(f"project {project!r} has no run {node_id!r}")
        tracer.back_from_run(node_id)
        tracer.on_from_run(node_id)
    elif found := registry.find_by_digest(session, project, node_id):
        tracer.back_from_version(found)
        tracer.on_from_version(found)
    else:
        tracer.on_from_dataset(node_id)
        if len(tracer.nodes) == 1:
            raise NotFoundError(f"nothing in project {project!r} came from {node_id}, and it is no model version")
    return Lineage(nodes=tuple(tracer.nodes.values()), edges=tuple(tracer.edges))


@dataclass
class _Tracer:
    session: Session
    project: str
    nodes: dict[str, LineageNode] = field(default_factory=dict)
    edges: dict[LineageEdge, None] = field(default_factory=dict)

    def back_from_version(self, version: ModelVersion) -> None:
        """Add a version and what it came from."""
        self._add_version(version)
        parent = registry.find_by_digest(self.session, self.project, version.parent) if version.parent else None
        if parent:
            self._link(parent.digest, version.digest, "compressed_to")
            if parent.digest not in self.nodes:
                self.back_from_version(parent)
        elif version.run_id:
            self._link(version.run_id, version.digest, "produced")
            self.back_from_run(version.run_id)
        elif version.dataset_digest:
            self._add(DATASET, version.dataset_digest, version.dataset_digest)
            self._link(version.dataset_digest, version.digest, "trained_on")

    def back_from_run(self, run_id: str) -> None:
        """Add a run and its dataset."""
        run = runs.get_run(self.session, run_id)
        self._add(RUN, run_id, run.name)
        if run.dataset_digest:
            self._add(DATASET, run.dataset_digest, run.dataset_digest)
            self._link(run.dataset_digest, run_id, "trained_on")

    def on_from_dataset(self, digest: str) -> None:
        """Add a dataset version and what it led to."""
        self._add(DATASET, digest, digest)
        for run_id in runs.runs_on(self.session, self.project, digest):
            self._link(digest, run_id, "trained_on")
            self.on_from_run(run_id)
        for version in registry.versions_on(self.session, self.project, digest):
            if not version.run_id and not version.parent:
                self._link(digest, version.digest, "trained_on")
                self.on_from_version(version)

    def on_from_run(self, run_id: str) -> None:
        """Add a run and what it led to."""
        self._add(RUN, run_id, runs.get_run(self.session, run_id).name)
        for version in registry.versions_of_run(self.session, run_id):
            if not version.parent:
                self._link(run_id, version.digest, "produced")
                self.on_from_version(version)

    def on_from_version(self, version: ModelVersion) -> None:
        """Add a version and those made from it."""
        self._add_version(version)
        for child in registry.children_of(self.session, self.project, version.digest):
            self._link(version.digest, child.digest, "compressed_to")
            if child.digest not in self.nodes:
                self.on_from_version(child)

    def _add_version(self, version: ModelVersion) -> None:
        self._add(VERSION, version.digest, f"{version.name}/{version.number} ({version.variant})")

    def _add(self, kind: str, node_id: str, title: str) -> None:
        self.nodes.setdefault(node_id, LineageNode(kind=kind, id=node_id, title=title))

    def _link(self, cause: str, result: str, relation: str) -> None:
        self.edges[LineageEdge(from_id=cause, to_id=result, relation=relation)] = None

"""What a lifecycle document asks for, once it was found sound."""

from dataclasses import dataclass, field
from typing import Any

from gateway.lifecycles.document import Document
from gateway.lifecycles.gate import Bound
from services.common.digest import digest_json


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A finished upload that the dataset is made of."""

    id: str
    digest: str
    """Of its bytes: what decides whether the data stage has to run again."""


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Where the samples come from: a new commit of uploads, or a version that exists."""

    dataset: str
    """Name of the dataset, or with no uploads a reference such as `digits:3`."""
    uploads: tuple[Upload, ...] = ()
    source: str = ""
    """A folder on the author's machine; the command line turns it into uploads."""
    fractions: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    stratify: bool = False
    parent: str = ""

    @property
    def commits(self) -> bool:
        """Say whether a new version is made."""
        return bool(self.uploads or self.source)


@dataclass(frozen=True, kw_only=True)
class GateSection:
    """Demands on the candidates, and what decides among those that pass."""

    bounds: tuple[Bound, ...] = ()
    prefer: str = "p50_ms"


@dataclass(frozen=True, kw_only=True)
class ServeSection:
    """Where the chosen version goes."""

    deployment: str
    alias: str = ""
    """Set on the version once it takes traffic; empty: none."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LifecycleSpec:
    """A lifecycle as its document states it."""

    name: str
    project: str
    data: DataSection
    train: dict[str, Any] | None
    compress: dict[str, Any] | None
    gate: GateSection | None
    serve: ServeSection | None
    document: Document

    @property
    def digest(self) -> str:
        """Digest of the document's values: two files that say the same are the same lifecycle."""
        value = {**self.document.value, "project": self.project}
        data = dict(value["data"])
        data.pop("source", None)
        if self.data.uploads:  # Bytes count, not the ids under which they arrived.
            data["uploads"] = [upload.digest or upload.id for upload in self.data.uploads]
        return digest_json({**value, "data": data})

    @property
    def model_name(self) -> str:
        """Name under which the trained model is registered."""
        return str((self.train or {}).get("model_name") or self.name)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that the document asks for, in order."""
        wanted = {
            "data": True,
            "train": self.train is not None,
            "compress": self.compress is not None,
            "gate": self.gate is not None or (self.compress is not None and self.serve is not None),
            "serve": self.serve is not None,
        }
        return tuple(name for name, asked in wanted.items() if asked)

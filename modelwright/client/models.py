"""The model registry: versions, aliases, packages."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelwright.client.blobs import Blobs
from modelwright.client.packages import unpack
from modelwright.client.records import AliasEvent, Model, ModelVersion, to_plain, to_record
from modelwright.client.resource import Resource, items, part
from services.common.errors import InvalidError


class Models(Resource):
    """Models of the project. A `version` is a number, a digest or an alias."""

    def list(self, *, page_size: int = 0) -> Iterator[Model]:
        """Yield every model with its newest version and its aliases."""
        return self._pages(Model, "models", "models", page_size=page_size)

    def show(self, name: str) -> Model:
        """Return a model."""
        return self._one(Model, "GET", f"models/{part(name)}", "model")

    def versions(self, name: str, *, page_size: int = 0) -> Iterator[ModelVersion]:
        """Yield the versions of a model, newest first."""
        return self._pages(ModelVersion, f"models/{part(name)}/versions", "versions", page_size=page_size)

    def get(self, name: str, version: str | int) -> ModelVersion:
        """Return a version of a model."""
        return self._one(ModelVersion, "GET", f"models/{part(name)}/versions/{part(version)}", "version")

    def resolve(self, ref: str) -> ModelVersion:
        """Return what `models:/digits@champion`, `digits/3`, `digits` or `sha256:…` points at."""
        return self._one(ModelVersion, "GET", "models:resolve", "version", params={"ref": ref})

    def create(
        self,
        name: str,
        folder: str | Path,
        *,
        run_id: str = "",
        dataset_digest: str = "",
        parent: str = "",
        variant: str = "trained",
    ) -> ModelVersion:
        """Send a model package and register it; the same package under the same name is the same version."""
        root = Path(folder)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        if not paths:
            raise InvalidError(f"{root} holds no files; give the folder of a model package", field="folder")
        blobs = Blobs(self.transport)
        files = [to_plain(blobs.put(path, path.relative_to(root).as_posix())) for path in paths]
        body: Mapping[str, Any] = {
            "name": name,
            "files": files,
            "run_id": run_id,
            "dataset_digest": dataset_digest,
            "parent": parent,
            "variant": variant,
        }
        return self._one(ModelVersion, "POST", "models", "version", body=body)

    def delete(self, name: str, version: str | int) -> None:
        """Delete a version; refused while an alias points at it or another descends from it."""
        self._none("DELETE", f"models/{part(name)}/versions/{part(version)}")

    def pull(self, ref: str, folder: str | Path) -> ModelVersion:
        """Write the package of a version into `folder`, every file checked against its digest."""
        version = self.resolve(ref)
        path = self.transport.path(f"models/{part(version.name)}/versions/{part(version.digest)}/package")
        with self.transport.stream(path) as response:
            unpack(response.iter_raw(), version.files, Path(folder))
        return version

    def set_alias(
        self, name: str, alias: str, version: str | int, *, reason: str = "", expected_digest: str | None = None
    ) -> Model:
        """Point an alias at a version; refused if it does not point at `expected_digest` now, where that is given."""
        body: dict[str, Any] = {"version": str(version), "reason": reason}
        if str(version).startswith("sha256:"):
            body = {"digest": version, "reason": reason}
        if expected_digest is not None:
            body["expected_digest"] = expected_digest
        return self._one(Model, "PUT", f"models/{part(name)}/aliases/{part(alias)}", "model", body=body)

    def delete_alias(self, name: str, alias: str, *, reason: str = "") -> None:
        """Remove an alias; the version stays."""
        self._none("DELETE", f"models/{part(name)}/aliases/{part(alias)}", params={"reason": reason})

    def events(self, name: str) -> Sequence[AliasEvent]:
        """Return who moved which alias when, newest first."""
        body = self._json("GET", f"models/{part(name)}/events")
        return [to_record(AliasEvent, item) for item in items(body, "events")]

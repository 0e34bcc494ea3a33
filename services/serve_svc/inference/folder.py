"""Serving from a folder, without a control plane."""

import asyncio
import logging
from pathlib import Path

from services.common.errors import InvalidError, ModelwrightError, NotFoundError
from services.serve_svc.engine.generation import Generation, Identity
from services.serve_svc.engine.loading import load
from services.serve_svc.engine.options import ServingOptions
from services.serve_svc.engine.package import MODEL, folder_digest, open_package, version_folder
from services.serve_svc.inference.preprocessing import read_preprocess
from services.serve_svc.inference.process import Feed, InferenceServer

log = logging.getLogger("modelwright.serve")


def find_models(folder: Path) -> dict[str, Path]:
    """Return the model folders in `folder` by the names under which they are served.

    `folder` may itself be a model's; a bare `NAME.onnx` is none: put it in a folder as model.onnx.

    Raises:
        NotFoundError: it is no folder or holds no model.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is no folder; --model-dir names a folder of model folders")
    if (folder / MODEL).is_file():
        return {folder.resolve().name: folder}
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and _has_model(path)}
    if not found:
        raise NotFoundError(f"{folder} holds no model; expected NAME/{MODEL} or NAME/1/{MODEL} in it")
    return found


def _has_model(folder: Path) -> bool:
    return (folder / MODEL).is_file() or any(folder.glob(f"[0-9]*/{MODEL}"))


def serve_folder(folder: Path, options: ServingOptions) -> Feed:
    """Return a feed that loads every model of `folder` once.

    A model that cannot be loaded is reported and stays away; the others are served.
    """
    models = find_models(folder)

    async def feed(server: InferenceServer) -> None:
        server.catalog.expect(dict.fromkeys(models, ""))
        for name, path in models.items():
            try:
                server.catalog.hold(await asyncio.to_thread(load_folder, name, path, options))
            except ModelwrightError as error:
                log.error("model %s: %s", name, error)
                server.catalog.expect({**server.catalog.expected, name: error.message})
        if not list(server.catalog):
            raise InvalidError(f"no model of {folder} could be loaded; the log says why of each")
        await asyncio.Event().wait()

    return feed


def load_folder(name: str, folder: Path, options: ServingOptions) -> Generation:
    """Return the generation of the highest version in a model's folder."""
    place, version = version_folder(folder)
    package = open_package(place)
    identity = Identity(
        model=name,
        version=version,
        digest=folder_digest(place),
        run=str(package.card.get("run") or ""),
        dataset=str(package.card.get("dataset") or ""),
    )
    return load(package, identity, options, read_preprocess)

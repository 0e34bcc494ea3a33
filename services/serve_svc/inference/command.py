"""The command line of the inference server."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from services.common.errors import InvalidError, ModelwrightError
from services.common.logs import configure_logging
from services.serve_svc.engine.options import parse_options
from services.serve_svc.inference.folder import serve_folder
from services.serve_svc.inference.process import Feed, serve
from services.serve_svc.settings import InferenceSettings


def parser(program: str) -> argparse.ArgumentParser:
    """Return the options."""
    found = argparse.ArgumentParser(prog=program, description="Answer the Open Inference Protocol over REST and gRPC.")
    found.add_argument("--model-dir", type=Path, help="serve the models of this folder; no control plane is needed")
    found.add_argument("--host", help="address to bind (127.0.0.1)")
    found.add_argument("--port", type=int, help="REST port (8081; 0: any)")
    found.add_argument("--grpc-port", type=int, help="gRPC port (8082; 0: any)")
    found.add_argument("--options", default="{}", help='with --model-dir, as JSON: {"instances": 2, "threads": 1}')
    return found


def run(arguments: Sequence[str], *, program: str = "modelwright-serve") -> int:
    """Serve until told to stop; return the exit code."""
    asked = parser(program).parse_args(arguments)
    given = {name: getattr(asked, name) for name in ("host", "port", "grpc_port") if getattr(asked, name) is not None}
    settings = InferenceSettings(**given)
    configure_logging(settings.log_level, settings.log_format)
    try:
        uvloop.run(serve(settings, _feed(settings, asked.model_dir, asked.options)))
    except ModelwrightError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 1
    except asyncio.CancelledError:
        return 1
    return 0


def _feed(settings: InferenceSettings, folder: Path | None, options: str) -> Feed:
    if folder is None:
        # Only this form speaks to the control plane and the storage.
        from services.serve_svc.inference.assignments import follow_control_plane  # noqa: PLC0415

        return follow_control_plane(settings)
    try:
        return serve_folder(folder, parse_options(json.loads(options)))
    except json.JSONDecodeError as error:
        raise InvalidError(f"--options is no JSON: {error}", field="options") from error

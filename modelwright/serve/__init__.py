"""The inference server, for use without a platform: `modelwright-serve --model-dir ./models`.

Names load when they are first used: importing this costs nothing.
"""

import importlib
from typing import Any

NAMES = {
    "InferenceServer": "services.serve_svc.inference.process",
    "InferenceSettings": "services.serve_svc.settings",
    "ServingOptions": "services.serve_svc.engine.options",
    "serve": "services.serve_svc.inference.process",
    "serve_folder": "services.serve_svc.inference.folder",
}
"""Public names and the modules that define them."""

__all__ = ["InferenceServer", "InferenceSettings", "ServingOptions", "serve", "serve_folder"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is asked for
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(NAMES[name]), name)


def main() -> int:
    """Run the command `modelwright-serve`; return its exit code."""
    import sys  # noqa: PLC0415 - the command alone needs it

    from services.serve_svc.inference.command import run  # noqa: PLC0415 - loads the runtime

    return run(sys.argv[1:])

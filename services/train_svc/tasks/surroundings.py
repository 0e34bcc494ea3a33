"""What a run was made with: code, packages, machine."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from services.common.hardware import describe_hardware

PACKAGES = ("modelwright", "torch", "numpy", "onnx", "onnxscript", "onnxruntime", "pillow", "pyarrow", "safetensors")
VERSION_VARIABLE = "MODELWRIGHT_CODE_VERSION"
"""Set in images, which have no repository: the commit that they were built from."""


def describe_surroundings() -> dict[str, str]:
    """Return the tags `code_version`, `environment` (JSON) and `hardware` (JSON)."""
    packages = {name: found for name in PACKAGES if (found := _version(name))}
    environment = {"python": platform.python_version(), "platform": platform.platform(), "packages": packages}
    return {
        "code_version": os.environ.get(VERSION_VARIABLE) or _commit() or packages.get("modelwright", ""),
        "environment": json.dumps(environment),
        "hardware": json.dumps(describe_hardware()),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

"""Where a run takes place: code version, packages, hardware; gathered in milliseconds."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

GIT_TIMEOUT_S = 2.0


def code_version(folder: Path | None = None) -> str:
    """Return the git commit of `folder` (or the script's), `-dirty` behind it if files differ, or nothing."""
    where = folder or _script_folder()
    commit = _git(where, "rev-parse", "HEAD")
    if not commit:
        return ""
    changed = _git(where, "status", "--porcelain", "--untracked-files=no")
    return commit + ("-dirty" if changed else "")


def environment() -> dict[str, Any]:
    """Return the Python version, the platform, the script and the installed packages with versions."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "script": Path(sys.argv[0]).name if sys.argv else "",
        "packages": _packages(),
    }


def hardware() -> dict[str, Any]:
    """Return the processor, its usable cores, memory in bytes, and the GPUs' names."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": _cpu_name(), "cores": cores, "memory_bytes": _memory_bytes(), "gpus": _gpus()}


def _script_folder() -> Path:
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    return script.parent if script.is_file() else Path()


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _packages() -> dict[str, str]:
    # The folder names say it all; reading every package's metadata takes a hundred times as long.
    found: dict[str, str] = {}
    for place in sys.path:
        try:
            names = os.listdir(place or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info"):
                package, _, version = name.removesuffix(".dist-info").partition("-")
                found.setdefault(package, version)
    return dict(sorted(found.items()))


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _gpus() -> list[str]:
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    return names

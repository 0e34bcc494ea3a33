"""What this machine has, as far as can be known without a framework."""

import os
import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil


@lru_cache(maxsize=1)
def describe_hardware() -> dict[str, Any]:
    """Return CPU model and count, memory in bytes, and the GPUs with their memory in MiB."""
    return {
        "host": platform.node(),
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus(),
    }


def cpu_model() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpus() -> list[dict[str, Any]]:
    """Return name and memory (MiB) of each NVIDIA GPU that its driver shows."""
    if not (tool := shutil.which("nvidia-smi")):
        return []
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return []
    rows = [line.rsplit(",", 1) for line in answer.splitlines() if "," in line]
    return [{"name": name.strip(), "memory_mib": int(memory)} for name, memory in rows if memory.strip().isdigit()]

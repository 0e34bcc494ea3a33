"""MLflow's server, from an environment of its own, to compare with.

`MLFLOW_VENV` names the environment; without it one is made in a temporary folder. Where it cannot be installed the
comparison is left out and says so.
"""

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MLFLOW = "mlflow==3.18.0"
VARIABLE = "MLFLOW_VENV"


@contextmanager
def mlflow_home() -> Iterator[Path | None]:
    """Give an environment that has MLflow; None, after a note, where there is none to be had."""
    if VARIABLE in os.environ:
        yield Path(os.environ[VARIABLE])
        return
    with tempfile.TemporaryDirectory(prefix="mw") as folder:
        home = Path(folder)
        venv.create(home, with_pip=True)
        command = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", MLFLOW]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            sys.stderr.write(f"{MLFLOW} is left out, it cannot be installed ({reason}); name one with {VARIABLE}\n")
        yield None if done.returncode else home


def mlflow_version(home: Path) -> str:
    """Return name and version; those of its parts too where they are not the same."""
    code = "from importlib.metadata import version as v; print(*map(v, ('mlflow', 'mlflow-skinny', 'mlflow-tracing')))"
    said = subprocess.run([home / "bin" / "python", "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    version, skinny, tracing = said.split()
    parts = "" if version == skinny == tracing else f" (its skinny package {skinny}, its tracing package {tracing})"
    return f"mlflow {version}{parts}"


def mlflow_command(home: Path, folder: Path, port: int, *more: str) -> list[str]:
    """Return the command line of a server on SQLite with all its state in `folder`."""
    command = [str(home / "bin" / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), *more]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.sqlite'}"]
    return [*command, "--artifacts-destination", str(folder / "artifacts")]


def mlflow_environment(home: Path) -> dict[str, str]:
    """Return what its processes find in their environment: its own programs first."""
    return {**os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}

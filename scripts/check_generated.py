"""Fail if `proto/gen` is not what the contracts give."""

import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.generate_protos import TARGET, generate


def main() -> None:
    """Generate into a temporary folder and compare."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "gen")
        command = ["diff", "-r", "-q", "-x", "__pycache__", str(TARGET), str(Path(folder) / "gen")]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"proto/gen is not up to date; run `make proto` and commit it:\n{found.stdout}")


if __name__ == "__main__":
    main()

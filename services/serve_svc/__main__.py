"""Run the control plane (`server`, the default) or the inference server (`inference`)."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the part that the first argument names; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    part = given.pop(0) if given and not given[0].startswith("-") else "server"
    # Each part loads its own libraries alone: the inference server no database, the control plane no runtime.
    if part == "inference":
        from services.serve_svc.inference.command import run  # noqa: PLC0415

        return run(given, program="python -m services.serve_svc inference")
    sys.stderr.write(f"unknown part {part!r}; use `server` or `inference`\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())

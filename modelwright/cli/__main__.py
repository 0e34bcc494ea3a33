"""`modelwright`, short `mw`."""

import os
import sys

from modelwright.cli.app import build
from modelwright.cli.failures import INTERRUPTED, report
from services.common.errors import ModelwrightError


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        build()()
    except ModelwrightError as error:
        sys.exit(report(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()

"""Run a program that ends with its parent: `python tether.py PARENT COMMAND…`, on Linux.

A platform that is killed outright cannot stop its children, and those it left behind would go on
beside the children of the next one. See prctl(2), PR_SET_PDEATHSIG.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` tethered to this process; as it is where there is no prctl.

    The thread that starts it counts as the parent: it must live as long as the child shall.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> None:
    """Tie this process to its parent and become the command."""
    parent, *command = arguments
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != int(parent):  # It died before it could be watched.
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

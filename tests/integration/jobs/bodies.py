"""What the jobs of these tests do."""

import os
import signal
import sys
import time

from services.common.errors import InvalidError
from services.common.jobs.context import JobContext, JobStopped


def add(context: JobContext) -> dict[str, int]:
    print("adding")
    print("to stderr", file=sys.stderr)
    context.report(progress=0.5, eta_s=1.0, message="half way")
    return {"sum": context.job.spec["a"] + context.job.spec["b"], "attempt": context.job.attempt}


def refuse(context: JobContext) -> dict[str, int]:
    raise InvalidError("the spec asks for nothing; give it a task")


def crash(context: JobContext) -> dict[str, int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def wait(context: JobContext) -> dict[str, int]:
    """Wait for a stop in the first attempt; end at once in later ones."""
    if context.job.attempt > 1:
        return {"attempt": context.job.attempt}
    print("waiting", flush=True)
    while not context.stop_requested:
        time.sleep(0.02)
    print("checkpoint kept", flush=True)
    raise JobStopped


def linger(context: JobContext) -> dict[str, int]:
    """Ignore every request to stop in the first attempt."""
    while context.job.attempt == 1:
        time.sleep(0.05)
    return {"attempt": context.job.attempt}

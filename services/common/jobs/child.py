"""The process that does one job's work, so that a crash or an out-of-memory kill costs it alone."""

import importlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from services.common.errors import ModelwrightError
from services.common.jobs.context import JobContext, JobStopped
from services.common.jobs.job import Job, Lease
from services.common.logs import configure_logging
from services.common.settings import CommonSettings


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the supervisor sends along with a new process."""

    target: str
    """The body, `package.module:function`."""
    job: Job
    lease: Lease
    settings: CommonSettings
    outbox: Connection
    """To the supervisor: progress and outcome."""
    output: Connection
    """To the supervisor: standard output and error, as bytes."""
    alive: Connection
    """Closes when the supervisor dies."""


def run_child(orders: Orders) -> None:
    """Run the body and tell the supervisor how it ended."""
    _redirect(orders.output)
    settings = orders.settings
    configure_logging(settings.log_level, "plain")
    context = JobContext(job=orders.job, lease=orders.lease, settings=settings, outbox=orders.outbox)
    signal.signal(signal.SIGTERM, lambda *_: context.stop.set())
    # Ctrl-C in a terminal reaches the whole group; the supervisor decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(
        target=_die_with_supervisor, args=(orders.alive, context.stop, settings.grace_s), daemon=True
    ).start()
    outcome, detail = _outcome(orders.target, context)
    sys.stdout.flush()
    sys.stderr.flush()
    context.finish(outcome, detail)


def _outcome(target: str, context: JobContext) -> tuple[str, Any]:
    try:
        module, name = target.split(":")
        result = getattr(importlib.import_module(module), name)(context)
        json.dumps(result)
    except JobStopped:
        return "stopped", None
    except ModelwrightError as error:
        logging.getLogger("modelwright.jobs").error("%s", error.message)
        return "failed", error.message
    except MemoryError:
        traceback.print_exc()
        return "failed", "out of memory; lower the batch size or give the worker more"
    except Exception as error:
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error} (the log has the traceback)"
    return "succeeded", result


def _redirect(output: Connection) -> None:
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def _die_with_supervisor(alive: Connection, stop: threading.Event, grace_s: float) -> None:
    try:
        alive.recv()
    except (EOFError, OSError):
        # Nobody renews the lease any more: leave before another worker takes the job.
        stop.set()
        threading.Event().wait(grace_s)
        os._exit(1)

"""How a service's process starts, stops and is told apart: server or worker."""

import argparse
import logging
import signal
import threading
from collections.abc import Callable, Sequence

from services.common.errors import ModelwrightError
from services.common.jobs.worker import Employer, Worker
from services.common.logs import configure_logging
from services.common.rpc import RpcServer
from services.common.settings import CommonSettings

log = logging.getLogger("modelwright")


def run_service(
    name: str,
    settings: CommonSettings,
    build_server: Callable[[], RpcServer],
    employer: Callable[[], Employer] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run `python -m services.NAME [server | worker --queues cpu,gpu --slots 1]` and return the exit code.

    Args:
        name: `data_svc`.
        settings: of the service.
        build_server: composes the service; called for `server`.
        employer: what a worker of the service does; None if it has no jobs.
        arguments: the command line, the process's own unless given.
    """
    options = _parse(name, employer is not None, arguments)
    configure_logging(settings.log_level, settings.log_format)
    try:
        if options.role == "worker" and employer:
            run_worker([employer()], options.queues.split(","), options.slots, settings)
        else:
            serve_until_stopped([build_server()])
    except ModelwrightError as error:
        log.error("%s cannot start: %s", name, error.message)
        return 1
    return 0


def run_worker(employers: Sequence[Employer], queues: Sequence[str], slots: int, settings: CommonSettings) -> None:
    """Do the jobs of some services until told to stop."""
    Worker(employers, queues, slots, settings).run()


def serve_until_stopped(servers: Sequence[RpcServer], grace_s: float = 5.0) -> None:
    """Start the servers, wait for SIGTERM or SIGINT, and stop them in reverse order."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    started: list[RpcServer] = []
    try:
        for server in servers:
            server.start()
            started.append(server)
        # A wait without a timeout would not let Python handle the signal.
        while not stopped.wait(1.0):
            pass
    finally:
        for server in reversed(started):
            server.stop(grace_s)


def _parse(name: str, has_jobs: bool, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m services.{name}")
    roles = parser.add_subparsers(dest="role")
    roles.add_parser("server", help="answer gRPC calls (the default)")
    if has_jobs:
        worker = roles.add_parser("worker", help="do the service's jobs")
        worker.add_argument("--queues", default="cpu", help="queues to take jobs from, such as gpu,cpu")
        worker.add_argument("--slots", type=int, default=1, help="jobs at once")
    return parser.parse_args(arguments)

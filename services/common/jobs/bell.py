"""Celery as a bell: its message carries a job id, is acknowledged at once, and losing it loses nothing."""

import logging
import queue
import threading
import warnings
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import worker_shutting_down
from kombu.entity import Exchange, Queue

log = logging.getLogger("modelwright.bell")

EXPIRES_S = 60
"""A bell not heard by then is rung again by the reaper; the old one only fills the queue."""


def celery_app(broker_url: str) -> Celery:
    """Return a Celery application that only rings bells: no results, no late acknowledgement, no prefetch."""
    app = Celery("modelwright", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        # A busy worker leaves the bells of others alone.
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"socket_connect_timeout": 2, "socket_keepalive": True},
    )
    return app


def queue_of(service: str, name: str) -> Queue:
    """Return the Celery queue of a service's job queue."""
    full = f"{service}.{name}"
    return Queue(full, Exchange("modelwright", type="direct"), routing_key=full)


class CeleryBell:
    """Rings from a thread of its own, so that a broker that is away holds up nobody."""

    def __init__(self, app: Celery, service: str) -> None:
        self._app, self._service = app, service
        self._pending: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"{service}-bell", daemon=True)
        self._thread.start()

    def ring(self, job_id: str, queue: str) -> None:
        """Send the job's id to the workers of its queue, soon; never raises."""
        self._pending.put((job_id, queue))

    def close(self) -> None:
        """Ring what is pending and end the thread."""
        self._pending.put(None)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while item := self._pending.get():
            job_id, name = item
            try:
                self._app.send_task(
                    f"{self._service}.ring",
                    args=[job_id],
                    # To the queue itself, which Celery does when no exchange is named: an exchange's
                    # bindings are kept in Redis and gone after a wipe.
                    queue=queue_of(self._service, name),
                    expires=EXPIRES_S,
                    retry=False,
                    ignore_result=True,
                )
            except Exception as error:
                log.warning("the bell for %s was not heard (%s); it will be rung again", job_id, error)


def serve_bells(
    app: Celery, answers: dict[str, Callable[[str], None]], queues: list[Queue], slots: int, on_stop: Callable[[], None]
) -> None:
    """Listen for bells until SIGTERM or SIGINT.

    Args:
        app: made by `celery_app`.
        answers: service to what is called with the job's id; it blocks while it works.
        queues: made by `queue_of`.
        slots: bells answered at once.
        on_stop: called when the worker is told to stop, before it waits for its answers.
    """
    for service, answer in answers.items():
        app.task(name=f"{service}.ring", ignore_result=True)(answer)
    app.conf.task_queues = queues

    def stop(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
        on_stop()

    worker_shutting_down.connect(stop, weak=False)
    # Containers often run as root; the warning is about pickled messages, which we do not take.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    logging.getLogger("celery").setLevel(logging.WARNING)
    app.Worker(
        pool="threads", concurrency=slots, without_gossip=True, without_mingle=True, quiet=True, loglevel="INFO"
    ).start()

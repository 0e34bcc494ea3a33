"""Finds jobs whose worker is lost and bells that nobody heard."""

import logging
import threading

from services.common.errors import ModelwrightError
from services.common.jobs.service import JobService

log = logging.getLogger("modelwright.jobs")


class Reaper:
    """A thread that reaps at an interval.

    It lets one lease pass before the first look: workers that could not renew while this service
    was away get the time to do so, and their jobs go on undisturbed.
    """

    def __init__(self, service: JobService, interval_s: float) -> None:
        self._service = service
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End and wait for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._service.lease_s
        while not self._stop.wait(pause):
            pause = self._interval_s
            try:
                self._service.reap()
            except ModelwrightError as error:
                log.warning("reaping will be tried again: %s", error.message)

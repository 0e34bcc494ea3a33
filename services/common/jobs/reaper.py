"""Finds jobs whose worker is lost and bells that nobody heard."""

from services.common.jobs.service import JobService
from services.common.periodic import Periodic


def reaper_of(service: JobService, interval_s: float) -> Periodic:
    """Return the service's reaper, to be started and stopped with it.

    It lets one lease pass before the first look: workers that could not renew while this service
    was away get the time to do so, and their jobs go on undisturbed.
    """
    return Periodic("reaper", service.reap, interval_s, first_after_s=service.lease_s)

"""Why a queued job does not run yet, in words."""

from collections.abc import Sequence

from services.common.jobs.job import WorkerInfo


def explain(queue: str, ahead: int, workers: Sequence[WorkerInfo]) -> str:
    """Return the reason that a job with `ahead` others before it on `queue` waits."""
    serving = [worker for worker in workers if queue in worker.queues]
    if not serving:
        others = sorted({name for worker in workers for name in worker.queues})
        hint = f"workers serve only {', '.join(others)}" if others else "no worker is running"
        return f"no worker serves queue '{queue}' ({hint}); start one with --queues {queue}"
    slots = sum(worker.slots for worker in serving)
    free = slots - sum(min(worker.busy_slots, worker.slots) for worker in serving)
    if free <= ahead:
        before = f"{ahead} job{'s' if ahead != 1 else ''} ahead; " if ahead else ""
        return f"{before}{free} of {slots} slots of {len(serving)} worker{'s' if len(serving) != 1 else ''} free"
    return "a worker is about to take it"

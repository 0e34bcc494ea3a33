"""A worker: claims jobs of one or more services and does them, a few at a time."""

import logging
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from proto.gen.modelwright.common.v1 import job_pb2 as pb
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from services.common.errors import ModelwrightError
from services.common.hardware import describe_hardware
from services.common.jobs.bell import celery_app, queue_of, serve_bells
from services.common.jobs.job import WorkerInfo
from services.common.jobs.supervisor import Supervisor
from services.common.jobs.wire import job_from_wire, lease_from_wire, worker_to_wire
from services.common.rpc import Peer, call
from services.common.settings import CommonSettings

log = logging.getLogger("modelwright.worker")

LOOK_S = 2.0
"""How often a worker reports itself and looks for jobs whose bell it did not hear."""


@dataclass(frozen=True, kw_only=True)
class Employer:
    """A service that a worker works for."""

    service: str
    """`train_svc`."""
    address: str
    """`host:port` of its gRPC server."""
    kinds: Mapping[str, str]
    """Kind of job to its body, `package.module:function`."""
    preload: Sequence[str] = field(default=())
    """Modules that children need and that take long to import; none may start threads or touch a GPU."""


class Worker:
    """Claims and does jobs in at most `slots` child processes.

    Args:
        employers: whose jobs.
        queues: names of the queues, such as `cpu` and `gpu`.
        slots: jobs at once.
        settings: broker, TLS, grace.
        name: shown to users; host and process id unless given.
    """

    def __init__(
        self,
        employers: Sequence[Employer],
        queues: Sequence[str],
        slots: int,
        settings: CommonSettings,
        name: str = "",
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._employers = {employer.service: employer for employer in employers}
        self._queues, self._slots, self._settings = list(queues), slots, settings
        self._stubs = {e.service: Peer(e.address, settings.tls).stub(JobServiceStub) for e in employers}
        self._free = threading.Semaphore(slots)
        self._busy = 0
        self._leaving = threading.Event()
        # Children fork from a clean process that has the heavy imports done: a job starts in milliseconds.
        self._processes = multiprocessing.get_context("forkserver")
        modules = dict.fromkeys(module for employer in employers for module in employer.preload)
        self._processes.set_forkserver_preload(["services.common.jobs.child", *modules])

    def run(self) -> None:
        """Work until told to stop by SIGTERM or SIGINT."""
        self._processes.Process(target=_warm_up).start()
        looker = threading.Thread(target=self._look, name="look", daemon=True)
        looker.start()
        queues = [queue_of(service, name) for service in self._employers for name in self._queues]
        answers = {service: self._answer(service) for service in self._employers}
        log.info("worker %s serves %s", self.name, ", ".join(queue.name for queue in queues))
        serve_bells(celery_app(self._settings.broker()), answers, queues, self._slots, self._leaving.set)
        self._leaving.set()
        looker.join(timeout=self._settings.grace_s + 5)

    def work(self, service: str) -> None:
        """Do the service's waiting jobs, one after another, while there is a free slot."""
        while not self._leaving.is_set() and self._free.acquire(blocking=False):
            self._busy += 1
            try:
                found = self._do_next(service)
            except ModelwrightError as error:
                log.warning("no job from %s now: %s", service, error.message)
                return
            finally:
                self._busy -= 1
                self._free.release()
            if not found:
                return

    def _answer(self, service: str) -> Callable[[str], None]:
        def ring(job_id: str) -> None:
            self.work(service)

        return ring

    def _do_next(self, service: str) -> bool:
        stub = self._stubs[service]
        answer = call(stub.ClaimJob, pb.ClaimJobRequest(worker=self.name, queues=self._queues), wait=False)
        if not answer.HasField("job"):
            return False
        job, lease = job_from_wire(answer.job), lease_from_wire(answer.lease)
        if job.kind not in self._employers[service].kinds:
            error = f"worker {self.name} does not know jobs of kind '{job.kind}'; is it of an older version?"
            call(stub.FinishJob, pb.FinishJobRequest(lease=answer.lease, state=pb.JOB_STATE_FAILED, error=error))
            return True
        log.info("%s %s begins (attempt %d)", job.kind, job.id, job.attempt)
        Supervisor(
            stub,
            self._employers[service].kinds[job.kind],
            job,
            lease,
            answer.lease_s,
            processes=self._processes,
            settings=self._settings,
            leaving=self._leaving.is_set,
        ).run()
        log.info("%s %s left", job.kind, job.id)
        return True

    def _look(self) -> None:
        sign = self._settings.home / "worker.alive"
        sign.parent.mkdir(parents=True, exist_ok=True)
        while not self._leaving.is_set():
            # For health checks of containers (services.common.rpc.probe).
            sign.touch()
            for service, stub in self._stubs.items():
                if self._report(stub) and self._busy < self._slots:
                    threading.Thread(target=self.work, args=(service,), name=f"{service}-job").start()
            self._leaving.wait(LOOK_S)
        while self._busy:
            time.sleep(0.05)

    def _report(self, stub: JobServiceStub) -> int:
        info = WorkerInfo(
            name=self.name,
            queues=tuple(self._queues),
            slots=self._slots,
            busy_slots=self._busy,
            hardware=describe_hardware(),
        )
        try:
            request = pb.ReportWorkerRequest(worker=worker_to_wire(info))
            return int(call(stub.ReportWorker, request, timeout_s=5, wait=False).waiting_jobs)
        except ModelwrightError as error:
            log.debug("not reported: %s", error.message)
            return 0


def _warm_up() -> None:
    """Do nothing, in a child: the first start brings up the fork server with its preloaded modules."""

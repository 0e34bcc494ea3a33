"""Following the control plane: what to hold, and how it went.

While the control plane is away the server keeps what it has and tries again for
ever. A revision that was loaded or refused is not tried anew when the stream
comes back, only reported again.
"""

import asyncio
import json
import logging
from collections.abc import Iterable

from proto.gen.modelwright.serve.v1 import deployment_pb2 as pb
from proto.gen.modelwright.serve.v1.deployment_pb2_grpc import DeploymentServiceStub
from services.common.errors import ModelwrightError, UnavailableError
from services.common.rpc import AioPeer, acall, astream
from services.serve_svc.engine.generation import Generation, Identity
from services.serve_svc.engine.loading import load
from services.serve_svc.engine.options import parse_options
from services.serve_svc.engine.package import open_package
from services.serve_svc.inference.downloads import Downloads
from services.serve_svc.inference.preprocessing import read_preprocess
from services.serve_svc.inference.process import Feed, InferenceServer
from services.serve_svc.settings import InferenceSettings

log = logging.getLogger("modelwright.serve")

REPORT_TIMEOUT_S = 10.0


def follow_control_plane(settings: InferenceSettings) -> Feed:
    """Return a feed that holds what the control plane assigns."""

    async def feed(server: InferenceServer) -> None:
        downloads = Downloads(settings)
        await Follower(server, downloads).run()

    return feed


class Follower:
    """Keeps the catalog as the control plane wants it."""

    def __init__(self, server: InferenceServer, downloads: Downloads) -> None:
        self._server = server
        self._downloads = downloads
        self._settings = server.settings
        self._name = self._settings.name or f"{self._settings.reachable_host()}:{server.rest_port}"
        self._assigned: dict[str, pb.Assignment] = {}
        self._loaded: dict[str, Generation] = {}
        self._refused: dict[str, str] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._stub: DeploymentServiceStub

    async def run(self) -> None:
        """Watch for ever."""
        peer = AioPeer(self._settings.serve_address, self._settings.tls)
        self._stub = peer.stub(DeploymentServiceStub)
        away = False
        try:
            while True:
                try:
                    await self._watch()
                    away = False
                except ModelwrightError as error:
                    if not away:
                        log.warning("the control plane is away, what is loaded stays: %s", error)
                    away = True
                await asyncio.sleep(self._settings.reconnect_s)
        finally:
            for task in self._loading.values():
                task.cancel()
            await peer.close()

    async def _watch(self) -> None:
        endpoint = pb.Endpoint(rest_url=self._server.rest_url, grpc_address=self._server.grpc_address)
        request = pb.WatchAssignmentsRequest(server=self._name, endpoint=endpoint)
        fresh = True
        async for answer in astream(self._stub.WatchAssignments, request):
            self._apply(answer.assignments)
            if fresh:
                await self._report_all()
            fresh = False

    def _apply(self, assignments: Iterable[pb.Assignment]) -> None:
        """Begin to load what is new and release what is no longer wanted."""
        self._assigned = {a.revision.id: a for a in assignments}
        for gone in [key for key in self._loaded if key not in self._assigned]:
            self._server.catalog.release(self._loaded.pop(gone))
        for gone in [key for key in self._loading if key not in self._assigned]:
            self._loading.pop(gone).cancel()
        self._refused = {key: why for key, why in self._refused.items() if key in self._assigned}
        for key, assignment in self._assigned.items():
            if key not in self._loaded and key not in self._loading and key not in self._refused:
                self._loading[key] = asyncio.create_task(self._load(assignment))
        self._expect()

    def _expect(self) -> None:
        """Tell readiness which models are still missing altogether."""
        have = {one.identity.model for one in self._loaded.values()}
        self._server.catalog.expect(
            {a.deployment: self._refused.get(key, "") for key, a in self._assigned.items() if a.deployment not in have}
        )

    async def _load(self, assignment: pb.Assignment) -> None:
        key = assignment.revision.id
        await self._report(key, pb.REVISION_STATE_LOADING)
        try:
            generation = await self._build_patiently(assignment)
        except Exception as error:
            log.exception("%s revision %d is refused", assignment.deployment, assignment.revision.number)
            self._refused[key] = error.message if isinstance(error, ModelwrightError) else f"loading failed: {error!r}"
        else:
            if key in self._assigned:
                self._loaded[key] = generation
                self._server.catalog.hold(generation)
            else:
                await generation.drain()
        self._loading.pop(key, None)
        self._expect()
        await self._report_one(key)

    async def _build_patiently(self, assignment: pb.Assignment) -> Generation:
        """Build the generation; while the storage is away, wait for it instead of refusing the revision."""
        while True:
            try:
                return await asyncio.to_thread(self._build, assignment)
            except UnavailableError as error:
                log.warning("%s waits for its package: %s", assignment.deployment, error)
                await asyncio.sleep(self._settings.reconnect_s)

    def _build(self, assignment: pb.Assignment) -> Generation:
        """Fetch the package, build and prove it; runs in a thread."""
        revision = assignment.revision
        identity = Identity(
            model=assignment.deployment,
            version=str(revision.model_number),
            digest=revision.model_digest,
            run=revision.run_id,
            dataset=revision.dataset_digest,
            deployment=f"{assignment.project}/{assignment.deployment}",
            revision=revision.id,
            order=revision.number,
        )
        options = parse_options(json.loads(revision.options_json or "{}"))
        with self._downloads.open([(f.path, f.digest) for f in revision.files]) as folder:
            return load(open_package(folder), identity, options, read_preprocess)

    async def _report_all(self) -> None:
        for key in [*self._loaded, *self._refused]:
            await self._report_one(key)

    async def _report_one(self, key: str) -> None:
        if key in self._loaded:
            await self._report(key, pb.REVISION_STATE_READY)
        elif key in self._refused:
            await self._report(key, pb.REVISION_STATE_FAILED, self._refused[key])

    async def _report(self, key: str, state: pb.RevisionState.ValueType, error: str = "") -> None:
        """Report; if the control plane is away it hears of it when the stream comes back."""
        request = pb.ReportRevisionRequest(server=self._name, revision_id=key, state=state, error=error)
        try:
            await acall(self._stub.ReportRevision, request, timeout_s=REPORT_TIMEOUT_S)
        except ModelwrightError as fault:
            log.info("the report on %s waits for the control plane: %s", key, fault)

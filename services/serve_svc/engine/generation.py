"""A model version that is loaded: it answers until it is released, then drains."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.errors import InvalidError
from services.serve_svc.engine.batching import Scheduler
from services.serve_svc.engine.datatypes import DATATYPES, Datatype
from services.serve_svc.engine.elements import Array, from_bf16
from services.serve_svc.engine.options import ServingOptions
from services.serve_svc.engine.pipeline import INLINE_BYTES, LABELS_OUTPUT, RAW_INPUT, Pipeline, probabilities
from services.serve_svc.engine.signature import Signature
from services.serve_svc.engine.statistics import Statistics

BYTES = DATATYPES["BYTES"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What every answer says of its origin."""

    model: str
    """Name in the protocol: the deployment's."""
    version: str
    """The model version's number, in digits."""
    digest: str = ""
    """Digest of the package."""
    run: str = ""
    """The training run; empty if unknown."""
    dataset: str = ""
    """Digest of the dataset version that it was trained on."""
    deployment: str = ""
    """`project/name`; empty without a control plane."""
    revision: str = "local"
    """Id of the deployment's revision; part of prediction ids."""
    order: int = 0
    """Of two generations of a model the one with the higher order takes the traffic."""

    def parameters(self) -> dict[str, str]:
        """Return the response parameters."""
        found = {
            "model_digest": self.digest,
            "run": self.run,
            "dataset": self.dataset,
            "deployment": self.deployment,
            "revision": self.revision,
        }
        return {key: value for key, value in found.items() if value}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A named tensor of a request or an answer."""

    name: str
    kind: Datatype
    array: Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An output that a request names."""

    name: str
    classes: int = 0
    """Instead of the scores, this many best classes of each row; 0: the scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to infer."""

    inputs: Sequence[Tensor]
    wanted: Sequence[Wanted] = ()
    """Empty: every output."""
    classes: int = 0
    """Adds the output `labels`: this many best classes of each row of the first output, with probabilities."""
    timeout_us: int = 0
    """How long it may wait for its turn; 0: any time."""


class Generation:
    """One loaded version of a model."""

    def __init__(
        self, identity: Identity, signature: Signature, pipeline: Pipeline, scheduler: Scheduler, statistics: Statistics
    ) -> None:
        self.identity = identity
        self.signature = signature
        self.pipeline = pipeline
        self.statistics = statistics
        self.scheduler = scheduler
        self.parameters = identity.parameters()
        self.in_flight = 0
        self._prefix = f"prd_{identity.revision}_"
        self._drained = asyncio.Event()

    @property
    def options(self) -> ServingOptions:
        """How the model is run."""
        return self.scheduler.options

    def new_prediction_id(self) -> str:
        """Return an id that leads back to the revision by itself."""
        return self._prefix + os.urandom(8).hex()

    async def infer(self, request: Request) -> list[Tensor]:
        """Return the wanted outputs.

        Raises:
            InvalidError: an input or output does not fit the signature.
            BusyError: too many requests wait.
        """
        began = time.perf_counter_ns()
        self.in_flight += 1
        try:
            found = await self._infer(request)
            self.statistics.add_request(began)
            return found
        except BaseException:
            self.statistics.failure += 1
            raise
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._drained.set()

    async def _infer(self, request: Request) -> list[Tensor]:
        began = time.perf_counter_ns()
        wanted = request.wanted or [Wanted(name=spec.name) for spec in self.signature.outputs]
        for output in wanted:
            self.signature.output(output.name)
        feeds = await self._feeds(request.inputs)
        self.statistics.input_ns += time.perf_counter_ns() - began
        arrays = await self.scheduler.run(feeds, timeout_us=request.timeout_us)
        ran = time.perf_counter_ns()
        outputs = dict(zip([spec.name for spec in self.signature.outputs], arrays, strict=True))
        found = [self._output(output, outputs[output.name]) for output in wanted]
        if request.classes:
            found.append(self._labels(outputs, request.classes))
        self.statistics.output_ns += time.perf_counter_ns() - ran
        return found

    async def _feeds(self, inputs: Sequence[Tensor]) -> dict[str, Array]:
        feeds: dict[str, Array] = {}
        for tensor in inputs:
            if tensor.name in feeds:
                raise InvalidError(f"input {tensor.name!r} came twice", field=f"inputs.{tensor.name}")
            if tensor.name == RAW_INPUT and tensor.kind is BYTES and self._takes_pictures():
                feeds[self.signature.inputs[0].name] = await self._prepare(tensor.array)
                continue
            spec = self.signature.input(tensor.name)
            spec.check(tensor.kind, tensor.array.shape)
            feeds[tensor.name] = tensor.array
        self.signature.check_complete(feeds)
        return feeds

    def _takes_pictures(self) -> bool:
        return self.signature.inputs[0].kind is not BYTES

    async def _prepare(self, pictures: Array) -> Array:
        spec, data = self.signature.inputs[0], list(pictures.ravel())
        if sum(len(picture) for picture in data) < INLINE_BYTES:
            array = self.pipeline.prepare(data, spec)
        else:
            array = await asyncio.to_thread(self.pipeline.prepare, data, spec)
        spec.check(spec.kind, array.shape)
        return array

    def _output(self, wanted: Wanted, array: Array) -> Tensor:
        kind = self.signature.output(wanted.name).kind
        if not wanted.classes:
            return Tensor(name=wanted.name, kind=kind, array=array)
        if kind is BYTES:
            raise InvalidError(f"output {wanted.name!r} holds strings, which have no classes", field="outputs")
        scores = from_bf16(array) if kind.name == "BF16" else array
        return Tensor(name=wanted.name, kind=BYTES, array=self.pipeline.classify(scores, wanted.classes))

    def _labels(self, outputs: Mapping[str, Array], classes: int) -> Tensor:
        spec = self.signature.outputs[0]
        if spec.kind is BYTES:
            raise InvalidError(f"output {spec.name!r} holds strings, which have no classes", field="classification")
        scores = probabilities(outputs[spec.name], bf16=spec.kind.name == "BF16")
        return Tensor(name=LABELS_OUTPUT, kind=BYTES, array=self.pipeline.classify(scores, classes))

    async def drain(self) -> None:
        """Wait for the requests in flight, then give the threads back; new ones must not come."""
        while self.in_flight:
            self._drained.clear()
            await self._drained.wait()
        self.scheduler.close()

"""What the loop needs of an engine: everything that touches a tensor."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from services.train_svc.engine.batch import Batch

HostArrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a step is made."""

    step: int
    """Steps made before it."""
    rate: float
    """Its learning rate."""
    seed: int
    """Of dropout and the like."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a step measured. Read on the host, some steps after it where the device is not waited for."""

    step: int
    """Steps made, with it."""
    loss: float
    """Mean over its batch."""
    gradient_norm: float
    """Of all gradients together, before clipping; nan where nothing needed it."""
    applied: bool = True
    """False: loss or gradient was not finite, and the weights are as before; under fp16 the loss scale is halved."""
    loss_scale: float = 1.0
    """Of fp16; 1 elsewhere."""
    is_scaled: bool = False
    """Whether the loss is scaled, so that a step may be left out."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What a model makes of one batch while it is evaluated."""

    outputs: HostArrays
    """By name."""
    total: float
    """The loss's sum over the batch."""
    weight: float
    """What the sum is divided by, added up over batches."""


class Meter(Protocol):
    """A context that measures the most memory that the run's tensors take at once."""

    def __enter__(self) -> "Meter":
        """Begin to measure."""

    def __exit__(self, *raised: Any) -> None:  # noqa: ANN401 - what was raised within
        """Stop measuring."""

    @property
    def peak_bytes(self) -> int:
        """The most so far, in bytes."""


class Learner(Protocol):
    """One engine's model, loss, optimizer and average in training."""

    model: Any
    """Of its engine."""
    pieces: int
    """Parts that a batch is computed in, one after another."""

    def running(self) -> AbstractContextManager[Any]:
        """Return a context for a run's steps, which leaves the caller's random generators as they were."""

    def learn(self, batch: Batch, moment: Moment) -> Sequence[Measured]:
        """Make one step, and return what is known by now: that step's measure, or those of steps before it."""

    def settle(self) -> Sequence[Measured]:
        """Wait for the device, and return the measures that are still out."""

    def predict(self, batch: Batch) -> Predicted:
        """Return what the model makes of a batch, nothing dropped, with the averaged weights where there are such."""

    def output_shapes(self, batch: Batch) -> Mapping[str, Sequence[int]]:
        """Return the shape of each output for a sample of a batch, the batch first; empty: the model does not say."""

    def state(self) -> "Snapshot":
        """Return a copy of all that a run needs to go on; training may go on while it is read."""

    def fill(self, tensors: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, on this engine or the other.

        Raises:
            InvalidError: it is of another model or optimizer.
        """

    def first_fault(self, batch: Batch, moment: Moment) -> str:
        """Return the name of the first module whose output, or whose gradient, is not finite; empty: none."""

    def metered(self) -> Meter:
        """Return a context that measures the peak of memory."""

    def close(self) -> None:
        """Let go of the device's memory."""

    def averaged(self) -> AbstractContextManager[Any]:
        """Return a context in which the model holds the average of its weights, if one is kept."""

    def adopt_average(self) -> None:
        """Give the model the average of its weights for good, if one is kept: the run is over."""

    @property
    def parameters(self) -> int:
        """Numbers that are learnt."""

    @property
    def device_name(self) -> str:
        """What computes, such as `NVIDIA H200` or `cpu`."""

    @property
    def precision(self) -> str:
        """Number format of the large products: fp32, tf32, fp16, bf16 or fp8."""

    @property
    def first_steps(self) -> int:
        """Steps after which it runs as it will: what is compiled or captured is by then."""

    @property
    def version(self) -> str:
        """Version of the engine, for people who look for the reason of a difference."""

    @property
    def peak_bytes(self) -> int:
        """Most memory of the device that the run's tensors took so far; 0: not known."""

    @property
    def device_bytes(self) -> int:
        """What memory the device has; 0: not known."""


class Snapshot(Protocol):
    """A copy of a run's tensors, perhaps still on its way to the host."""

    def tensors(self) -> HostArrays:
        """Return them by name, in the canonical layout: `model/`, `optimizer/`, `ema/`, `scale/`, `clip/`. It waits."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all of them."""

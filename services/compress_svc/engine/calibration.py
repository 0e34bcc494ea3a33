"""Finds the ranges of a graph's activations in two passes over sample batches.

The first pass finds each tensor's extremes, the second fills histograms of that fixed range. Memory is one batch's
activations and 32 KiB a tensor, however many samples; batches may differ in shape; their order does not matter.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from services.common.errors import InvalidError
from services.compress_svc.engine.graph import Feeds, Session
from services.compress_svc.engine.histograms import Extremes, Histogram
from services.compress_svc.engine.progress import Watch
from services.compress_svc.engine.recipe import Calibration
from services.compress_svc.engine.thresholds import Range, choose_range

Batches = Callable[[], Iterable[Feeds]] | Iterable[Feeds]
"""What gives the same batches each time it is gone through: a list, or a function that returns an iterator."""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What the passes saw of each tensor. One observation serves every method."""

    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    samples: int = 0

    def ranges(self, method: Calibration, percentile: float = 99.99) -> dict[str, Range]:
        """Return (low, high) of each tensor, zero between them."""
        return {name: choose_range(found, method, percentile) for name, found in self.histograms.items()}


def observe(
    proto: onnx.ModelProto, tensors: tuple[str, ...], batches: Batches, watch: Watch | None = None
) -> Observations:
    """Run the batches through the graph twice and return what `tensors` held.

    Raises:
        InvalidError: no batch was given, the second pass gave other batches than the first, or a tensor holds NaN
            or infinity.
    """
    watch = watch or Watch()
    session = Session(_exposed(proto, tensors).SerializeToString())
    extremes = {name: Extremes() for name in tensors}
    samples = 0
    for feeds in replay(batches):
        watch.check()
        samples += _batch_size(feeds)
        outputs = session.run(feeds)
        for name, seen in extremes.items():
            seen.add(name, _values(name, feeds, outputs))
    if not samples:
        raise InvalidError("calibration got no samples; give at least one batch of training samples")
    histograms = {
        name: Histogram(low=seen.low, high=seen.high) for name, seen in extremes.items() if seen.low <= seen.high
    }
    again = _count(session, histograms, batches, watch)
    if again != samples:
        raise InvalidError(
            f"the second pass of calibration got {again} samples, the first {samples}; "
            "give a list or a function that returns a fresh iterator, not an iterator that runs dry"
        )
    return Observations(histograms=histograms, samples=samples)


def replay(batches: Batches) -> Iterable[Feeds]:
    """Begin a fresh pass."""
    return batches() if callable(batches) else batches


def _count(session: Session, histograms: dict[str, Histogram], batches: Batches, watch: Watch) -> int:
    samples = 0
    for feeds in replay(batches):
        watch.check()
        samples += _batch_size(feeds)
        outputs = session.run(feeds)
        for name, histogram in histograms.items():
            histogram.add(_values(name, feeds, outputs))
    return samples


def _values(name: str, feeds: Feeds, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(outputs[name] if name in outputs else feeds[name], np.float32)


def _batch_size(feeds: Feeds) -> int:
    return len(next(iter(feeds.values()))) if feeds else 0


def _exposed(proto: onnx.ModelProto, tensors: tuple[str, ...]) -> onnx.ModelProto:
    """Return a copy of the graph that gives the tensors as outputs; shapes stay open."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    present = {item.name for item in (*copy.graph.output, *copy.graph.input)}
    for name in tensors:
        if name not in present:
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return copy

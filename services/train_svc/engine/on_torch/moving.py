"""Batches and seeds to the device, and what a step measured back to the host, neither waiting for the other."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

AHEAD = 4
"""Steps that the host may be ahead of the device."""


def to_device(arrays: Mapping[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    """Return arrays or tensors as tensors of a device; from pinned memory, so that the host goes on at once."""
    return {name: _move(array, device) for name, array in arrays.items()}


def _move(array: Any, device: torch.device) -> torch.Tensor:  # noqa: ANN401 - an array or a tensor
    tensor = array if isinstance(array, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the generators that a device draws from.

    As `torch.manual_seed`, which also puts off a call for each kind of device that is not there, with a stack trace:
    a millisecond a step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


class Readback:
    """Rows of numbers on their way from the device to the host, in order."""

    def __init__(self, device: torch.device) -> None:
        self._waits = device.type == "cuda"
        self._out: deque[tuple[int, torch.Tensor, Any]] = deque()

    def put(self, step: int, row: torch.Tensor) -> None:
        """Send the numbers of a step on their way.

        Args:
            step: which.
            row: [numbers] float32 on the device; it may be overwritten afterwards.
        """
        if not self._waits:
            self._out.append((step, row.clone(), None))
            return
        host = torch.empty(row.shape, dtype=row.dtype, pin_memory=True)
        host.copy_(row, non_blocking=True)
        arrived: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
        arrived.record()
        self._out.append((step, host, arrived))

    def arrived(self, *, all_of_them: bool = False) -> Iterator[tuple[int, list[float]]]:
        """Yield what is there, oldest first; it waits where the host is too far ahead, or for all."""
        while self._out:
            step, row, event = self._out[0]
            if event is not None and not event.query():
                if not all_of_them and len(self._out) <= AHEAD:
                    return
                event.synchronize()
            self._out.popleft()
            yield step, row.tolist()

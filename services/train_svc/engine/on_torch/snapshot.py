"""A copy of a run's tensors, taken between two steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Flat = dict[str, torch.Tensor]


class TorchSnapshot:
    """Tensors copied away from training: on the host at once, from a GPU while training goes on.

    Args:
        tensors: by name, as training holds them.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._held = {name: _copy(tensor.detach()) for name, tensor in tensors.items()}
        self._arrived: Any = None
        if any(tensor.is_cuda for tensor in tensors.values()):
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
            self._arrived.record()

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return NumPy arrays by name, once they have arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return {name: np.asarray(tensor) for name, tensor in self._held.items()}

    @property
    def size_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._held.values())


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_cuda:
        return tensor.clone(memory_format=torch.contiguous_format)
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)

"""Activations that wait for the backward pass in the host's memory."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

LEAST_BYTES = 2**20
"""Smaller tensors stay: many small copies cost more than they save."""


@contextmanager
def activations_on_host(model: nn.Module, *, least_bytes: int = LEAST_BYTES) -> Iterator[None]:
    """Let autograd keep large tensors in pinned memory of the host, from where the backward pass fetches them.

    Put the forward pass and the loss inside; the backward pass may be outside. Of recomputed units their inputs alone
    are kept, and moved. A compiled model may be called within; a CUDA graph may not be captured within. On a CPU
    nothing moves.

    Args:
        model: its parameters and buffers stay where they are.
        least_bytes: smaller tensors stay too.
    """
    with torch.autograd.graph.saved_tensors_hooks(*_hooks(model, least_bytes)):
        yield


class Moved:
    """A tensor's values on the host, and a way back.

    The copies run in order with the computation. On a stream of their own they would be faster, but memory that a copy
    still reads is not free for what the host has launched by then, so that little would be saved.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._device = tensor.device
        self._host = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._back: weakref.ref[torch.Tensor] | None = None

    def fetch(self) -> torch.Tensor:
        """Return the tensor on its device; the same one, while somebody holds it."""
        tensor = self._back() if self._back else None
        if tensor is None:
            tensor = torch.empty_strided(
                self._host.shape, self._host.stride(), dtype=self._host.dtype, device=self._device
            )
            tensor.copy_(self._host, non_blocking=True)
            self._back = weakref.ref(tensor)
        return tensor


def _hooks(model: nn.Module, least_bytes: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    stays = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    moved: dict[Any, tuple[weakref.ref[torch.UntypedStorage], Moved]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor | Moved:
        storage = tensor.untyped_storage() if tensor.is_cuda else None
        if storage is None or tensor.nbytes < least_bytes or storage._cdata in stays or not _is_dense(tensor):
            return tensor
        # Several operators keep one tensor: the input of query, key and value. It moves once.
        key = (storage._cdata, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor._version)
        known = moved.get(key)
        if known is None or known[0]() is not storage:
            known = moved[key] = (weakref.ref(storage, lambda _reference: moved.pop(key, None)), Moved(tensor))
        return known[1]

    def unpack(kept: torch.Tensor | Moved) -> torch.Tensor:
        return kept.fetch() if isinstance(kept, Moved) else kept

    return pack, unpack


def _is_dense(tensor: torch.Tensor) -> bool:
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return extent == tensor.numel()

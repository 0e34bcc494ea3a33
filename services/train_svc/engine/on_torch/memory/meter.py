"""How much memory a run's tensors take at most."""

import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Reference = weakref.ref[torch.UntypedStorage]


class PeakMeter:
    """A context that measures the largest number of bytes that live at once in tensors of a device.

    On CUDA by the allocator, which knows all of the process: what graphs and compiled code use too. On a CPU by
    following what each operator makes: in an eager model, without workspaces inside operators, at several times the
    cost of the operators' launch. So seconds are measured apart.

    Args:
        device: whose memory.
        held: on a CPU, tensors that were there before and count too: parameters, buffers, gradients, moments.
    """

    def __init__(self, device: torch.device, held: Iterable[torch.Tensor] = ()) -> None:
        self.device = device
        self._follower = Follower() if device.type == "cpu" else None
        self._held = held
        self._peak = self._reserved = 0
        self._stopped = False

    def __enter__(self) -> Self:
        """Begin to measure."""
        if self._follower:
            self._follower.follow(self._held)
            self._held = ()
            self._follower.__enter__()  # type: ignore[no-untyped-call]  # torch's own
        else:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop measuring."""
        self._peak, self._reserved = self.peak_bytes, self.reserved_bytes
        follower, self._follower = self._follower, None
        if follower:
            follower.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]  # torch's own
            follower.forget()
        self._stopped = True

    @property
    def peak_bytes(self) -> int:
        """Most bytes that tensors took at once since it began."""
        if self._stopped:
            return self._peak
        return self._follower.peak_bytes if self._follower else torch.cuda.max_memory_allocated(self.device)

    @property
    def reserved_bytes(self) -> int:
        """Most bytes that torch held of the device's memory, its cache of free blocks included; 0 on a CPU."""
        if self._stopped:
            return self._reserved
        return 0 if self._follower else torch.cuda.max_memory_reserved(self.device)


class Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Follows the storages that operators make on the CPU until they are freed. Views of one storage count once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.live_bytes = self.peak_bytes = 0
        self._live: dict[int, tuple[Reference, int]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - torch's own
        args: Any = (),  # noqa: ANN401 - torch's own
        kwargs: Any = None,  # noqa: ANN401 - torch's own
    ) -> Any:  # noqa: ANN401 - torch's own
        """Run an operator, and note what it made."""
        made = func(*args, **(kwargs or {}))
        self.follow(made if isinstance(made, tuple | list) else (made,))
        return made

    def follow(self, tensors: Iterable[Any]) -> None:
        """Count the storages of these tensors too, until they are freed."""
        for tensor in tree_leaves(list(tensors)):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu" and tensor.layout == torch.strided:
                self._note(tensor.untyped_storage())
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def forget(self) -> None:
        """Follow nothing any more."""
        self._live.clear()

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        known = self._live.get(key)
        if known is None:
            # Autograd keeps storages that no tensor of Python has any more; a reference lives as long as they do.
            reference = weakref.ref(storage, lambda _reference: self._freed(key))
        elif known[1] == size:
            return
        else:
            reference = known[0]
            self.live_bytes -= known[1]
        self._live[key] = (reference, size)
        self.live_bytes += size

    def _freed(self, key: int) -> None:
        _, size = self._live.pop(key, (None, 0))
        self.live_bytes -= size

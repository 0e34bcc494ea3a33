"""Copies of a run's arrays in host memory, made while training goes on to its next update.

Between two updates the arrays do not change, so the copy need not be there before the forward and backward pass of the
next step begin, only before its update (Mohan et al. 2021, CheckFreq, FAST '21). Memory is used again, since fresh
memory costs more than the copying: each page is zeroed at its first touch, and under a hypervisor fetched first.
"""

import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from services.train_svc.engine.checkpointing.dtypes import Array

PIECE_BYTES = 8 << 20
"""Copied in one go, without Python's lock."""
ALIGNMENT = 64
"""Of each array's first byte: a line of the processor's cache."""


class HostCopy:
    """A copy that is being made. A Snapshot; the arrays are the caller's own, and live as long as any is held."""

    def __init__(self, tensors: dict[str, Array], pieces: deque[tuple[Array, Array]], pool: ThreadPoolExecutor) -> None:
        self._tensors = tensors
        self._pieces = pieces
        self._copying: Future[None] = pool.submit(_copy, pieces)

    def wait(self) -> None:
        """Help with what is left of the copy, and return when it is made. Then the originals may change."""
        _copy(self._pieces)
        self._copying.result()

    def tensors(self) -> dict[str, Array]:
        """Return the copies by name. It waits."""
        self.wait()
        return self._tensors

    @property
    def size_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(array.nbytes for array in self._tensors.values())


class HostCopies:
    """Begins copies, and keeps the memory of one that nobody holds any more for the next."""

    def __init__(self) -> None:
        self._spare: list[Array] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="host copy")

    def reserve(self, arrays: Mapping[str, Array]) -> None:
        """Have memory for a copy of such arrays made ready in the background, before the first is needed."""
        self._pool.submit(self._touch, sum(map(_room, arrays.values())))

    def begin(self, arrays: Mapping[str, Array]) -> HostCopy:
        """Begin to copy arrays, in the background.

        Args:
            arrays: views of the live arrays by name; they must not change before `wait` of the copy has returned.
        """
        memory = self._memory(sum(map(_room, arrays.values())))
        tensors, pieces, at = {}, deque[tuple[Array, Array]](), 0
        for name, array in arrays.items():
            copy = memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
            pieces.extend(_pieces(copy, array))
            tensors[name] = copy
            at += _room(array)
        return HostCopy(tensors, pieces, self._pool)

    def _touch(self, size_bytes: int) -> None:
        owner = np.empty(size_bytes, np.uint8)
        for at in range(0, size_bytes, PIECE_BYTES):
            np.copyto(owner[at : at + PIECE_BYTES], 0)
        _give_back(self._spare, owner)

    def _memory(self, size_bytes: int) -> Array:
        """Return bytes that come back to `_spare` once no view of them is held."""
        if not size_bytes:
            return np.empty(0, np.uint8)
        while self._spare:
            owner = self._spare.pop()
            if owner.nbytes == size_bytes:
                break
        else:
            owner = np.empty(size_bytes, np.uint8)
        # Views of a view of foreign memory hold that view, not its owner: it goes when the last of them does.
        lent: Array = np.frombuffer(owner.data, np.uint8)
        weakref.finalize(lent, _give_back, self._spare, owner).atexit = False
        return lent


def _give_back(spare: list[Array], owner: Array) -> None:
    if not spare:
        spare.append(owner)


def _room(array: Array) -> int:
    return array.nbytes + -array.nbytes % ALIGNMENT


def _pieces(copy: Array, array: Array) -> list[tuple[Array, Array]]:
    if not array.flags.c_contiguous:
        return [(copy, array)]
    target, source = (whole.reshape(-1).view(np.uint8) for whole in (copy, array))
    starts = range(0, array.nbytes, PIECE_BYTES)
    return [(target[at : at + PIECE_BYTES], source[at : at + PIECE_BYTES]) for at in starts]


def _copy(pieces: deque[tuple[Array, Array]]) -> None:
    while True:
        try:
            target, source = pieces.popleft()
        except IndexError:
            return
        np.copyto(target, source)

"""Tables of arrays as batches: tabular data, tokens, windows of time series, features that fit into memory."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.loading.items import as_array
from services.train_svc.engine.loading.numbered import Indices, OrderedBatches, ShuffledSource

Array = npt.NDArray[Any]

MOST_HASHED_BYTES = 1 << 30
ROWS_HASHED_AT_ONCE = 4096


class ArraySamples:
    """Arrays [samples, ...] by name. They are read as they are, so they may be mapped from a file.

    Args:
        inputs: by the names of the model's inputs.
        targets: by the names that the loss reads.
        ids: names of the samples; empty: their numbers, from 0.

    Raises:
        InvalidError: an array holds no numbers, or they differ in length.
    """

    def __init__(self, inputs: Mapping[str, Array], targets: Mapping[str, Array], ids: Sequence[str] = ()) -> None:
        self._inputs, self._targets, self._ids = dict(inputs), dict(targets), ids
        if not inputs:
            raise InvalidError("there are no inputs; give at least one array", field="data.inputs")
        for name, array in self.arrays():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb" or not array.ndim:
                got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
                raise InvalidError(f"got {got}, wanted a NumPy array of numbers [samples, ...]", field=f"data.{name}")
        sizes = {name: len(array) for name, array in self.arrays()} | ({"ids": len(ids)} if len(ids) else {})
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InvalidError(f"the arrays have different numbers of samples: {found}", field="data")

    def __len__(self) -> int:
        """How many there are."""
        return len(next(iter(self._inputs.values())))

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Yield all arrays, such as `inputs.tokens`."""
        for part, arrays in (("inputs", self._inputs), ("targets", self._targets)):
            for name, array in arrays.items():
                yield f"{part}.{name}", array

    def read(self, indices: Indices) -> Batch:
        """Return the samples at `indices`; whole numbers are int64 then, fractions float32."""
        inputs, targets = (
            {name: as_array(array[indices]) for name, array in part.items()} for part in (self._inputs, self._targets)
        )
        ids = [str(self._ids[index]) if len(self._ids) else str(index) for index in indices]
        return Batch(inputs=inputs, targets=targets, ids=ids)


class ArraySource(ShuffledSource):
    """Arrays to learn from, in a new order every epoch; arguments and errors as of `ArraySamples`, `ShuffledSource`.

    `digest` may be left out: then it is that of the content, or of evenly spread rows of what is over 1 GiB.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        targets: Mapping[str, Array],
        *,
        batch_size: int,
        seed: int = 0,
        ids: Sequence[str] = (),
        digest: str = "",
    ) -> None:
        samples = ArraySamples(inputs, targets, ids)
        super().__init__(samples, digest=digest or digest_arrays(samples), batch_size=batch_size, seed=seed)


class ArrayBatches(OrderedBatches):
    """Arrays to be evaluated on, in their order."""

    def __init__(
        self, inputs: Mapping[str, Array], targets: Mapping[str, Array], *, batch_size: int, ids: Sequence[str] = ()
    ) -> None:
        super().__init__(ArraySamples(inputs, targets, ids), batch_size=batch_size)


def digest_arrays(samples: ArraySamples) -> str:
    """Return a digest of names, types, shapes and values; of evenly spread rows where there are over 1 GiB."""
    state = hashlib.sha256()
    for name, array in samples.arrays():
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        rows = np.arange(len(array))[:: max(1, array.nbytes // MOST_HASHED_BYTES)]
        for start in range(0, len(rows), ROWS_HASHED_AT_ONCE):
            state.update(np.ascontiguousarray(array[rows[start : start + ROWS_HASHED_AT_ONCE]]).tobytes())
    return "sha256:" + state.hexdigest()

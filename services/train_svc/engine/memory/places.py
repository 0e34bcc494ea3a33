"""Which places of a batch have a label: chosen on the host, so that nothing waits for the device."""

from typing import Any

import numpy as np
import numpy.typing as npt

SHARE = 32
"""The number of places is rounded up to a multiple of this part of all."""


def labelled_places(labels: npt.NDArray[Any], ignored: int, multiple: int = 0) -> npt.NDArray[np.int64] | None:
    """Return where the labels are, as places in the flattened batch.

    Args:
        labels: [batch, time].
        ignored: the label of places that count for nothing.
        multiple: the number of places is padded to a multiple of it, with repeats of an ignored place, so that a
            compiled step sees few shapes; 0: a 32nd of all places.

    Returns:
        int64 [n], at least one; None: all places, as padding would be more than they are.
    """
    flat = labels.reshape(-1)
    real = np.flatnonzero(flat != ignored)
    step = multiple or max(8, -(-len(flat) // SHARE))
    size = max(1, -(-len(real) // step)) * step
    if size >= len(flat):
        return None
    empty = int(np.argmax(flat == ignored))
    return np.concatenate([real, np.full(size - len(real), empty)]).astype(np.int64)

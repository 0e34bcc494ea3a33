"""What stands before and behind a model: raw bytes in, classes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.errors import InvalidError
from services.serve_svc.engine.elements import Array, from_bf16
from services.serve_svc.engine.signature import TensorSpec

RAW_INPUT = "image"
"""Name of the BYTES input that carries raw pictures."""
LABELS_OUTPUT = "labels"
"""Name of the extra output that a request's own `classification` parameter adds."""
INLINE_BYTES = 16 << 10
"""Pictures of fewer bytes in all are decoded on the serving loop."""

Preprocess = Callable[[bytes], Array]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A package's pre- and post-processing; both may be absent."""

    preprocess: Preprocess | None = None
    """Turns the raw bytes of one sample into one row of the first input."""
    labels: Sequence[str] = ()
    """Names of the classes."""

    def prepare(self, pictures: Sequence[bytes], spec: TensorSpec) -> Array:
        """Return the rows of the input `spec` for raw pictures.

        Raises:
            InvalidError: the package has no pre-processing, or a picture cannot be read.
        """
        if self.preprocess is None:
            raise InvalidError(
                f"this model takes no raw pictures (its package has no preprocess.yaml); send {spec.name!r} as "
                f"{spec.kind.name} of shape {list(spec.shape)}",
                field="inputs",
            )
        if not pictures:
            raise InvalidError(f"'{RAW_INPUT}' holds no picture", field=f"inputs.{RAW_INPUT}")
        rows = [self._row(self.preprocess, number, data) for number, data in enumerate(pictures)]
        return np.stack(rows).astype(spec.kind.dtype, copy=False)

    def _row(self, preprocess: Preprocess, number: int, data: bytes) -> Array:
        try:
            return preprocess(data)
        except InvalidError as error:
            raise InvalidError(f"'{RAW_INPUT}'[{number}]: {error.message}", field=f"inputs.{RAW_INPUT}") from error

    def classify(self, scores: Array, most: int) -> Array:
        """Return BYTES `score:index[:label]` of the `most` highest scores of each row, as Triton words them."""
        rows = scores.reshape(scores.shape[0] if scores.ndim > 1 else 1, -1)
        best = np.argsort(-rows, axis=1, kind="stable")[:, : max(1, most)]
        found = np.empty(best.shape, np.object_)
        for row, indices in enumerate(best):
            found[row] = [self._class(rows[row, index], int(index)) for index in indices]
        return found

    def _class(self, score: Any, index: int) -> bytes:  # noqa: ANN401 - a NumPy scalar
        text = f"{float(score):.6f}:{index}"
        return (f"{text}:{self.labels[index]}" if index < len(self.labels) else text).encode()


def probabilities(output: Array, *, bf16: bool) -> Array:
    """Return each row as probabilities: as it is if it sums to 1, else its softmax."""
    values = (from_bf16(output) if bf16 else output).astype(np.float64)
    rows = values.reshape(values.shape[0] if values.ndim > 1 else 1, -1)
    if rows.size and (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1.0, atol=1e-3):
        return rows
    powers: Array = np.exp(rows - rows.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers

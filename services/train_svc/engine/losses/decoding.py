"""Between labels and what a speech model reads and writes, on NumPy.

An attention decoder reads a start token and then the labels, and predicts the labels and then an end token. Both are
one token, the last of its vocabulary, as in WeNet (Yao et al. 2021, arXiv 2102.01547); no label may be it. Published
weights with other tokens (Whisper, T5) are trained with `language_model` on labels that were shifted by their own rule.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer[Any]]


def end_token(vocab_size: int) -> int:
    """Return the token with which a decoder of `vocab_size` tokens begins, and which ends what it writes."""
    return vocab_size - 1


def decoder_inputs(labels: IntArray, label_lengths: IntArray, start: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return what an attention decoder reads while it is trained: the start token, then the labels.

    Args:
        labels: [batch, label]; what lies behind a sample's length is not looked at.
        label_lengths: [batch].
        start: the token that begins, `end_token(vocab_size)`.

    Returns:
        int64 [batch, label + 1], filled up with the start token: `targets` in their order; `reverse_targets` from the
        last to the first, for a right-to-left decoder (U2++, Wu et al. 2021, arXiv 2106.05642).
    """
    lengths = np.asarray(label_lengths)[:, None]
    labels = np.asarray(labels)
    place = np.arange(labels.shape[1])
    backwards = np.take_along_axis(labels, np.maximum(lengths - 1 - place, 0), axis=1)

    def begun(tokens: IntArray) -> npt.NDArray[np.int64]:
        kept = np.where(place < lengths, tokens, start)
        return np.pad(kept, ((0, 0), (1, 0)), constant_values=start).astype(np.int64)

    return {"targets": begun(labels), "reverse_targets": begun(backwards)}


def ctc_greedy(scores: npt.NDArray[Any], frame_lengths: IntArray, blank: int = 0) -> list[list[int]]:
    """Return the tokens of the best path: the best of each frame, repeats merged, blanks dropped (Graves et al. 2006).

    Args:
        scores: [batch, time, tokens].
        frame_lengths: [batch], frames that count.
        blank: the token that stands for nothing.
    """
    best = np.asarray(scores).argmax(axis=-1)
    return [_merged(row[:length], blank) for row, length in zip(best, frame_lengths, strict=True)]


def _merged(path: IntArray, blank: int) -> list[int]:
    fresh = np.ones(len(path), dtype=bool)
    fresh[1:] = path[1:] != path[:-1]
    return [int(token) for token in path[fresh & (path != blank)]]

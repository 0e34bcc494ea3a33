"""Tokens that a speech model recognised, read from its scores.

CTC scores give what the model recognises alone. Those of an attention decoder and of a transducer are of a decoder that
is told the right tokens so far (teacher forcing), so that error rates of them are lower than those of a real search;
they still tell better weights from worse.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from services.train_svc.engine.losses import ctc_greedy, end_token
from services.train_svc.engine.metrics.metric import Array, Arrays, scores_of, target
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import IGNORED, LossSpec

Transcripts = list[list[int]]
Reader = Callable[[Arrays, Arrays], Transcripts]
"""Reads what was recognised from a batch's outputs and targets."""


def reader_for(loss: LossSpec) -> Reader:
    """Return what reads the transcripts that a model trained with `loss` makes."""
    return {
        "attention": partial(read_attention, loss),
        "rnnt": partial(read_transducer, loss),
    }.get(loss.name, partial(read_ctc, loss))


def references(targets: Arrays, ignored: int = IGNORED) -> Transcripts:
    """Return the labels of each sample, of `labels` [batch, label] and `label_lengths` [batch] where it is there."""
    labels = target(targets)
    lengths = targets.get("label_lengths", np.full(len(labels), labels.shape[1]))
    found = (row[: int(length)] for row, length in zip(labels, lengths, strict=True))
    return [row[row != ignored].tolist() for row in found]


def read_ctc(loss: LossSpec, outputs: Arrays, targets: Arrays) -> Transcripts:
    """Return the tokens of the best path.

    Args:
        loss: which of the outputs, and which token is blank.
        outputs: scores `ctc` [batch, time, tokens].
        targets: `frame_lengths` [batch], frames of the scores; without it, all count.
    """
    scores = scores_of(loss, outputs)
    return ctc_greedy(scores, _frames(scores, targets), loss.blank)


def read_attention(loss: LossSpec, outputs: Arrays, targets: Arrays) -> Transcripts:
    """Return the decoder's best token at each place, up to the one that ends a sentence.

    Args:
        loss: which of the outputs.
        outputs: scores `logits` [batch, label + 1, tokens].
        targets: as of `references`; nothing is read behind the place of the end.
    """
    scores = scores_of(loss, outputs)
    end = end_token(scores.shape[-1])
    best = scores.argmax(axis=-1)
    found = []
    for row, said in zip(best, references(targets), strict=True):
        tokens = row[: len(said) + 1].tolist()
        found.append(tokens[: tokens.index(end)] if end in tokens else tokens)
    return found


def read_transducer(loss: LossSpec, outputs: Arrays, targets: Arrays) -> Transcripts:
    """Return the tokens of the greedy way through each lattice: up at a token, to the next frame at a blank.

    Args:
        loss: which of the outputs, and which token is blank.
        outputs: scores [batch, time, label + 1, tokens] (Graves 2012, arXiv 1211.3711).
        targets: as of `references`, and `frame_lengths` [batch].
    """
    scores = scores_of(loss, outputs)
    best, frames = scores.argmax(axis=-1), _frames(scores, targets)
    return [
        _walk(grid[: int(length), : len(said) + 1], loss.blank)
        for grid, length, said in zip(best, frames, references(targets), strict=True)
    ]


def _walk(best: Array, blank: int) -> list[int]:
    found: list[int] = []
    frame = place = 0
    while frame < best.shape[0]:
        token = int(best[frame, place])
        if token != blank:
            found.append(token)
        # In the last row there is no way up: a token there stands for one too many.
        if token != blank and place < best.shape[1] - 1:
            place += 1
        else:
            frame += 1
    return found


def _frames(scores: Array, targets: Arrays) -> Array:
    lengths = targets.get("frame_lengths", np.full(len(scores), scores.shape[1]))
    if lengths.max(initial=0) > scores.shape[1]:
        message = f"a recording has {int(lengths.max())} frames, but the scores only {scores.shape[1]}"
        raise fault("targets.frame_lengths", f"{message}; give the lengths behind the model's own reduction")
    return lengths

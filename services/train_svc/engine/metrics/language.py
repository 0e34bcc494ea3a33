"""How well the next, or a masked, token is foretold."""

import math

import numpy as np

from services.train_svc.engine.metrics.metric import Array, Arrays, check_rows, counted, scores_of, target
from services.train_svc.engine.spec import LossSpec

ROWS_AT_ONCE = 1024
"""Bounds the memory: with 30,000 tokens, 120 MB of scores at once."""
LARGEST_EXPONENT = 709.0


class Perplexity:
    """`perplexity` = exp(mean negative log likelihood of a token), of the plain likelihood, without label smoothing."""

    def __init__(self, loss: LossSpec) -> None:
        self._loss = loss
        self._total = 0.0
        self._places = 0

    def update(self, outputs: Arrays, targets: Arrays) -> None:
        """Count scores `logits` [batch, time, tokens] against `labels` [batch, time]."""
        scores, labels = scores_of(self._loss, outputs), target(targets)
        check_rows(scores, labels)
        flat = scores.reshape(-1, scores.shape[-1])
        for start in range(0, len(flat), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            some, chosen = counted(flat[rows], labels.reshape(-1)[rows], self._loss.ignored)
            self._total += surprise(some, chosen)
            self._places += len(chosen)

    def result(self) -> dict[str, float]:
        """Return it; infinite beyond what a float64 holds."""
        return {"perplexity": perplexity(self._total / self._places)} if self._places else {}


def surprise(scores: Array, labels: Array) -> float:
    """Return the summed negative log likelihood, in nats, of labels [places] under scores float32 [places, tokens]."""
    top = scores.max(axis=-1, keepdims=True, initial=np.finfo(np.float32).min)
    sums = np.log(np.exp(scores - top).sum(axis=-1)) + top[:, 0]
    chosen = np.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]
    return float((sums - chosen).sum(dtype=np.float64))


def perplexity(mean_loss: float) -> float:
    """Return exp of a mean loss in nats; infinite where it is too large for a float64."""
    return math.exp(mean_loss) if not mean_loss > LARGEST_EXPONENT else math.inf

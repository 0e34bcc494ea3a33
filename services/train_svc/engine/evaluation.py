"""Accuracy with its confidence interval."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.pictures import Normalization, Split

Z_95 = 1.959963984540054
BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a model does on a split."""

    loss: float
    """Mean cross entropy, in nats."""
    accuracy: float
    """Share that is right."""
    ci_low: float
    """Lower end of the 95% Wilson score interval of the accuracy."""
    ci_high: float
    """Upper end."""
    samples: int
    """How many were looked at."""

    def card_entry(self, split: str) -> dict[str, Any]:
        """Return the accuracy as a report card holds it: value, ci_low, ci_high, samples, split."""
        interval = {"value": self.accuracy, "ci_low": self.ci_low, "ci_high": self.ci_high}
        return {**interval, "samples": self.samples, "split": split}


def wilson(correct: int, samples: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927), 95% unless told."""
    if samples == 0:
        return 0.0, 1.0
    share, square = correct / samples, z * z / samples
    middle = share + square / 2
    spread = z * math.sqrt(share * (1 - share) / samples + square / (4 * samples))
    # At the ends the formula is exactly 0 or 1, which rounding misses.
    low = 0.0 if correct == 0 else (middle - spread) / (1 + square)
    high = 1.0 if correct == samples else (middle + spread) / (1 + square)
    return low, high


def predict(
    model: nn.Module, split: Split, normalization: Normalization
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield scores [n, classes] and labels [n] of the split, batch by batch; the model's mode is kept."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(split), BATCH):
                indices = np.arange(start, min(start + BATCH, len(split)))
                pictures = normalization.apply(torch.from_numpy(split.pictures(indices)).to(device))
                yield model(pictures), torch.from_numpy(split.labels[indices]).to(device)
    finally:
        model.train(was_training)


def evaluate(model: nn.Module, split: Split, normalization: Normalization) -> Evaluation:
    """Return loss and accuracy of the model on the whole split."""
    loss, correct = 0.0, 0
    for scores, labels in predict(model, split, normalization):
        loss += float(functional.cross_entropy(scores, labels, reduction="sum"))
        correct += int((scores.argmax(1) == labels).sum())
    samples = len(split)
    low, high = wilson(correct, samples)
    return Evaluation(
        loss=loss / max(1, samples), accuracy=correct / max(1, samples), ci_low=low, ci_high=high, samples=samples
    )

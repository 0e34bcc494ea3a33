"""Distance of numbers, on torch."""

import torch
from torch.nn import functional

from services.train_svc.engine.on_torch.losses.loss import Loss, Tensors, sum_of_samples


class Regression(Loss):
    """Squared, absolute or Huber's error (1964; delta 1) of each number; it is divided by the numbers that count.

    `labels` have the output's shape. With a target `mask` of the same shape, only numbers where it is not 0 count; the
    others may be nan.
    """

    def counts(self, targets: Tensors) -> torch.Tensor:
        """Return how many numbers of each sample count."""
        mask = targets.get("mask")
        return sum_of_samples(torch.ones_like(targets["labels"]) if mask is None else mask != 0)

    def of_samples(self, scores: list[torch.Tensor], targets: Tensors) -> torch.Tensor:
        """Return each sample's sum."""
        error = scores[0].float() - targets["labels"].float()
        mask = targets.get("mask")
        if mask is not None:
            error = torch.where(mask != 0, error, 0.0)
        return sum_of_samples(self._of_errors(error))

    def _of_errors(self, error: torch.Tensor) -> torch.Tensor:
        if self.spec.form == "huber":
            return functional.huber_loss(error, torch.zeros_like(error), reduction="none")
        return error.abs() if self.spec.form == "absolute" else error.square()

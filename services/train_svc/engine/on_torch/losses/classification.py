"""Cross entropy of classes, places and pixels, on torch."""

import torch
from torch.nn import functional

from services.train_svc.engine.on_torch.losses.loss import Loss, Tensors, sum_of_samples


def cross_entropy(
    scores: torch.Tensor, labels: torch.Tensor, *, ignored: int, smoothing: float, axis: int = -1
) -> torch.Tensor:
    """Return the cross entropy of each place in nats, float32 in the labels' shape; 0 where the label is `ignored`.

    Args:
        scores: before the softmax, classes along `axis`.
        labels: the shape of the scores without `axis`; below the number of classes, or `ignored`.
        ignored: label of places that count for nothing.
        smoothing: share of the target that is spread evenly over all classes (Szegedy et al. 2015, arXiv 1512.00567).
        axis: of the classes.
    """
    counted = labels != ignored
    logs = functional.log_softmax(scores, axis, dtype=torch.float32)
    places = torch.where(counted, labels, 0).long().unsqueeze(axis)
    losses = -logs.gather(axis, places).squeeze(axis)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * logs.mean(axis)
    return torch.where(counted, losses, 0.0)


class CrossEntropy(Loss):
    """Cross entropy of scores [batch, classes] or [batch, time, classes]; it is divided by the labels that count."""

    def counts(self, targets: Tensors) -> torch.Tensor:
        """Return how many labels of each sample count."""
        return sum_of_samples(targets["labels"] != self.spec.ignored)

    def of_samples(self, scores: list[torch.Tensor], targets: Tensors) -> torch.Tensor:
        """Return each sample's sum."""
        labels, ignored = targets["labels"], self.spec.ignored
        return sum_of_samples(cross_entropy(scores[0], labels, ignored=ignored, smoothing=self.smoothing))


class Segmentation(CrossEntropy):
    """Cross entropy of pixels, the scores [batch, classes, h, w] enlarged to the labels [batch, height, width].

    They are enlarged between the centres of pixels. On CUDA the gradient of that adds up in any order, so the last bits
    of it differ from run to run where the sizes differ.
    """

    def of_samples(self, scores: list[torch.Tensor], targets: Tensors) -> torch.Tensor:
        """Return each picture's sum."""
        large, labels = scores[0].float(), targets["labels"]
        if large.shape[2:] != labels.shape[1:]:
            large = functional.interpolate(large, labels.shape[1:], mode="bilinear", align_corners=False)
        losses = cross_entropy(large, labels, ignored=self.spec.ignored, smoothing=self.smoothing, axis=1)
        return sum_of_samples(losses)

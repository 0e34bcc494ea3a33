"""What all losses on torch have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from services.train_svc.engine.losses.forms import check_shapes, outputs_of, require
from services.train_svc.engine.losses.mixing import sides
from services.train_svc.engine.spec import LossSpec

Tensors = Mapping[str, torch.Tensor]


class Loss(ABC):
    """A sum over a batch, and what it is divided by; both can be added up over the pieces of a batch.

    Args:
        spec: which loss, and its settings.
        label_smoothing: share of the target that is spread over all classes.
    """

    def __init__(self, spec: LossSpec, label_smoothing: float) -> None:
        self.spec = spec
        self.smoothing = label_smoothing

    def weight(self, targets: Tensors) -> torch.Tensor:
        """Return how much the batch counts, float32 []: samples, tokens or places, as the loss's class says.

        Raises:
            InvalidError: a target is missing.
        """
        require(self.spec, targets)
        parts = (_shared(self.counts(side.targets), side.share) for side in sides(targets))
        return torch.stack(list(parts)).sum()

    def total(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        """Return the sum over the batch, float32 [].

        Args:
            outputs: the model's, by name, in any floating-point type.
            targets: by name; with `share`, both samples' of each blend.

        Raises:
            InvalidError: an output or a target is missing, or its shape does not fit.
        """
        check_shapes(self.spec, _shapes(outputs), _shapes(targets))
        scores = [outputs[name] for name in outputs_of(self.spec, outputs)]
        parts = (_shared(self.of_samples(scores, side.targets), side.share) for side in sides(targets))
        return torch.stack(list(parts)).sum()

    @abstractmethod
    def counts(self, targets: Tensors) -> torch.Tensor:
        """Return how much each sample counts, float32 [batch]."""

    @abstractmethod
    def of_samples(self, scores: list[torch.Tensor], targets: Tensors) -> torch.Tensor:
        """Return each sample's loss, float32 [batch].

        Args:
            scores: the outputs that the loss reads, in the order of `outputs_of`.
            targets: of one side of a blend.
        """


def sum_of_samples(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of each sample's values, float32 [batch]."""
    return values.reshape(values.shape[0], -1).sum(1, dtype=torch.float32)


def _shared(values: torch.Tensor, share: torch.Tensor | None) -> torch.Tensor:
    return values.sum() if share is None else (values * share.float()).sum()


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}

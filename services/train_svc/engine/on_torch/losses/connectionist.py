"""Losses of recognisers of speech: CTC, attention decoders, and both at once, on torch."""

import torch
from torch import Tensor

from services.train_svc.engine.losses.decoding import end_token
from services.train_svc.engine.on_torch.losses.classification import cross_entropy
from services.train_svc.engine.on_torch.losses.ctc_alignment import ctc_losses
from services.train_svc.engine.on_torch.losses.loss import Loss, Tensors, sum_of_samples


class Ctc(Loss):
    """Connectionist temporal classification (Graves et al. 2006); it is divided by the number of samples.

    A sample that cannot be aligned has an infinite loss; `check_targets` names it beforehand.
    """

    def counts(self, targets: Tensors) -> Tensor:
        """Return 1 for each sample."""
        return torch.ones_like(targets["label_lengths"], dtype=torch.float32)

    def of_samples(self, scores: list[Tensor], targets: Tensors) -> Tensor:
        """Return each sample's -log P(labels)."""
        return _aligned(scores[0], targets, self.spec.blank)


class Attention(Loss):
    """Cross entropy of an attention decoder that predicts the labels and then an end token; divided by their number.

    Scores are [batch, label + 1, tokens], the decoder having read `losses.decoding.decoder_inputs`: a start token and
    then the labels. Start and end are one token, the last of the vocabulary.
    """

    def counts(self, targets: Tensors) -> Tensor:
        """Return the labels of each sample, and one for the end."""
        return targets["label_lengths"].float() + 1

    def of_samples(self, scores: list[Tensor], targets: Tensors) -> Tensor:
        """Return each sample's sum."""
        return self.of_decoder(scores[0], targets["labels"], targets["label_lengths"])

    def of_decoder(self, scores: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        """Return the sum over each sample's labels and its end, [batch]."""
        wanted = ended(labels, lengths, end_token(scores.shape[-1]), self.spec.ignored)
        return sum_of_samples(cross_entropy(scores, wanted, ignored=self.spec.ignored, smoothing=self.smoothing))


class CtcAttention(Attention):
    """CTC of `ctc` and an attention decoder's cross entropy of `logits` (Kim et al. 2017, arXiv 1609.06773).

    With a `reverse_weight`, that share of the decoder's part is that of `reverse_logits`, which predict the labels from
    the last to the first and then the end (U2++, Wu et al. 2021, arXiv 2106.05642). Both are sums over a sample, so it
    is divided by the number of samples.
    """

    def counts(self, targets: Tensors) -> Tensor:
        """Return 1 for each sample."""
        return torch.ones_like(targets["label_lengths"], dtype=torch.float32)

    def of_samples(self, scores: list[Tensor], targets: Tensors) -> Tensor:
        """Return each sample's blend of the two, or three."""
        labels, lengths = targets["labels"], targets["label_lengths"]
        aligned = _aligned(scores[0], targets, self.spec.blank)
        decoded = self.of_decoder(scores[1], labels, lengths)
        if self.spec.reverse_weight:
            backwards = self.of_decoder(scores[2], turned(labels, lengths), lengths)
            decoded = torch.lerp(decoded, backwards, self.spec.reverse_weight)
        return torch.lerp(decoded, aligned, self.spec.ctc_weight)


def ended(labels: Tensor, lengths: Tensor, end: int, ignored: int) -> Tensor:
    """Return labels [batch, label] as [batch, label + 1]: each sample's, then `end`, then `ignored`."""
    place, lengths = torch.arange(labels.shape[1] + 1, device=labels.device), lengths.unsqueeze(1)
    longer = torch.nn.functional.pad(labels, (0, 1))
    return torch.where(place < lengths, longer, torch.where(place == lengths, end, ignored))


def turned(labels: Tensor, lengths: Tensor) -> Tensor:
    """Return each sample's labels [batch, label] from the last to the first; behind them anything."""
    place = torch.arange(labels.shape[1], device=labels.device)
    return labels.gather(1, (lengths.long().unsqueeze(1) - 1 - place).clamp(min=0))


def _aligned(scores: Tensor, targets: Tensors, blank: int) -> Tensor:
    return ctc_losses(scores, targets["labels"], targets["frame_lengths"], targets["label_lengths"], blank)

"""RNN-T on torch (Graves 2012, arXiv 1211.3711).

All alignments are paths through a lattice of nodes (t, u): blank goes on to the next frame, a label stays in it. The
nodes of one anti-diagonal t + u depend on those of the one before alone, so the loop goes over anti-diagonals; forward
and backward variables run in it together, the backward ones as the forward ones of the lattice turned round, in log
space and float64. What the gradient needs is kept as two numbers a node, and the gradient itself is the only tensor as
large as the scores. Nothing waits for the device, and the same input gives the same bits.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from services.train_svc.engine.on_torch.losses.loss import Loss, Tensors

NEVER = float("-inf")


class Transducer(Loss):
    """-log P(labels) of scores [batch, time, label + 1, tokens]; it is divided by the number of samples.

    Scores of node (t, u) are what the model gives in frame t after u labels. A sample without frames has an infinite
    loss; `check_targets` names it beforehand.
    """

    def counts(self, targets: Tensors) -> Tensor:
        """Return 1 for each sample."""
        return torch.ones_like(targets["label_lengths"], dtype=torch.float32)

    def of_samples(self, scores: list[Tensor], targets: Tensors) -> Tensor:
        """Return each sample's loss."""
        lengths = targets["frame_lengths"], targets["label_lengths"]
        return transducer_losses(scores[0], targets["labels"], *lengths, self.spec.blank)


def transducer_losses(
    scores: Tensor, labels: Tensor, frame_lengths: Tensor, label_lengths: Tensor, blank: int
) -> Tensor:
    """Return -log P(labels | scores) of each sample, float32 [batch]; infinite, its gradient zero, if there is no path.

    Args:
        scores: [batch, time, label + 1, tokens], before the softmax.
        labels: [batch, label] without blank; what lies behind a sample's length is not looked at.
        frame_lengths: [batch], frames that count.
        label_lengths: [batch].
        blank: the token that goes on to the next frame.
    """
    losses, *_ = align_transducer(scores, labels, frame_lengths, label_lengths, blank)
    return losses  # type: ignore[no-any-return]  # the operator has no types


@torch.library.custom_op("modelwright::align_transducer", mutates_args=())
def align_transducer(
    scores: Tensor, labels: Tensor, frame_lengths: Tensor, label_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses and what their gradient is made of. One operator, so that compilers do not unroll its loop.

    Returns:
        Losses [batch]; the log of each node's softmax denominator [batch, time, label + 1]; the probabilities that a
        path goes through its blank and through its label [2, batch, time, label + 1]. All float32.
    """
    # Row by row: a float32 copy of all the scores would be the largest tensor of the step.
    norms = torch.stack([row.float().logsumexp(-1) for row in scores])
    picked = scores.gather(3, _names(scores, labels, label_lengths, blank)).squeeze(3)
    onward, emitted = (each.double() - norms.double() for each in (scores[..., blank], picked))
    stay, step = _lattice(onward, emitted, frame_lengths.view(-1, 1, 1), label_lengths.view(-1, 1, 1))
    losses, taken = _walk(stay, step, frame_lengths.view(-1, 1, 1))
    return losses, norms, taken


@align_transducer.register_fake
def _(
    scores: Tensor, labels: Tensor, frame_lengths: Tensor, label_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    sizes = (scores.shape[:1], scores.shape[:3], (2, *scores.shape[:3]))
    losses, norms, taken = (scores.new_empty(size, dtype=torch.float32) for size in sizes)
    return losses, norms, taken


def _names(scores: Tensor, labels: Tensor, lengths: Tensor, blank: int) -> Tensor:
    # The label that each node may write, blank where there is none: [batch, time, label + 1, 1].
    place = torch.arange(labels.shape[1] + 1, device=labels.device)
    names = torch.where(place < lengths.unsqueeze(1), functional.pad(labels, (0, 1)), blank).long()
    return names.view(len(labels), 1, -1, 1).expand(-1, scores.shape[1], -1, 1)


def _lattice(onward: Tensor, emitted: Tensor, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    # Log weights of the arcs from nodes [batch, time + 1, label + 1]. Behind a sample's end one free path leads to the
    # last corner, so that all samples end there.
    time, width = onward.shape[1:]
    t = torch.arange(time + 1, device=onward.device).view(-1, 1)
    u = torch.arange(width, device=onward.device)
    onward, emitted = (functional.pad(each, (0, 0, 0, 1)) for each in (onward, emitted))
    free = torch.where((t >= frames) & (u == labels), 0.0, NEVER).double()
    stay = torch.where((t < frames) & (u <= labels), onward, free)
    free = torch.where((t == time) & (u >= labels), 0.0, NEVER).double()
    step = torch.where((t < frames) & (u < labels), emitted, free)
    return stay, step.masked_fill(u == width - 1, NEVER)


def _walk(stay: Tensor, step: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    # Losses [batch], and the probabilities of each node's two arcs [2, batch, time, label + 1]. Forward and backward
    # variables are `paths` [diagonal, 2 batch, 1 + label + 1], one column of padding before.
    batch, time, width = stay.shape[0], stay.shape[1] - 1, stay.shape[2]
    stay, step = (_by_diagonal(each)[:-1] for each in (stay, step))
    ways = torch.cat([stay, stay.flip(0, 2)], 1)
    steps = functional.pad(torch.cat([step[..., :-1], step[..., :-1].flip(0, 2)], 1), (1, 0), value=NEVER)
    paths = stay.new_full((len(stay) + 1, 2 * batch, width + 1), NEVER)
    paths[0, :, 1] = 0
    for d in range(len(stay)):
        torch.logaddexp(paths[d, :, 1:] + ways[d], paths[d, :, :-1] + steps[d], out=paths[d + 1, :, 1:])
    alpha, beta = paths[:, :batch, 1:], paths[:, batch:, 1:].flip(0, 2)
    total = alpha[-1, :, -1:]
    later = functional.pad(beta[1:, :, 1:], (0, 1), value=NEVER)
    arcs = torch.stack([alpha[:-1] + stay + beta[1:], alpha[:-1] + step + later])
    taken = torch.where(total.isfinite(), arcs - total, NEVER).exp()
    inside = torch.arange(time, device=stay.device).view(-1, 1) < frames
    by_frame = torch.stack([_by_frame(each, time) for each in taken])
    return -total.squeeze(1).float(), torch.where(inside, by_frame, 0.0).float()


def _by_diagonal(nodes: Tensor) -> Tensor:
    # [batch, time, label] as [time + label - 1, batch, label]: column u moves down by u.
    batch, time, width = nodes.shape
    padded = functional.pad(nodes.transpose(1, 2), (0, width), value=NEVER).flatten(1)
    return padded[:, : width * (time + width - 1)].view(batch, width, -1).permute(2, 0, 1).contiguous()


def _by_frame(diagonals: Tensor, time: int) -> Tensor:
    # The other way: [batch, time, label].
    batch, width = diagonals.shape[1:]
    columns = functional.pad(diagonals.permute(1, 2, 0).flatten(1), (0, width))
    return columns.view(batch, width, -1)[:, :, :time].transpose(1, 2)


@torch.library.custom_op("modelwright::differentiate_transducer", mutates_args=())
def differentiate_transducer(
    scores: Tensor, names: Tensor, norms: Tensor, taken: Tensor, upstream: Tensor, *, blank: int
) -> Tensor:
    """Return the gradient with respect to the scores: softmax times what goes through a node, less what takes each arc.

    It is made sample by sample, so that nothing but the gradient is as large as the scores.
    """
    gradient = torch.empty_like(scores)
    for sample in range(len(scores)):
        part = (scores[sample].float() - norms[sample].unsqueeze(2)).exp_()
        blanks, labelled = taken[:, sample]
        part *= (blanks + labelled).unsqueeze(2)
        part[..., blank] -= blanks
        part.scatter_(2, names[sample], part.gather(2, names[sample]) - labelled.unsqueeze(2))
        gradient[sample] = part * upstream[sample]
    return gradient


@differentiate_transducer.register_fake
def _(scores: Tensor, names: Tensor, norms: Tensor, taken: Tensor, upstream: Tensor, *, blank: int) -> Tensor:
    return torch.empty_like(scores)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401 - torch's
    scores, labels, _, label_lengths, blank = inputs
    ctx.save_for_backward(scores, labels, label_lengths, *output[1:])
    ctx.set_materialize_grads(False)
    ctx.blank = blank


def _differentiate(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's
    scores, labels, lengths, norms, taken = ctx.saved_tensors
    names = _names(scores, labels, lengths, ctx.blank)
    gradient = differentiate_transducer(scores, names, norms, taken, upstream, blank=ctx.blank)
    return gradient, None, None, None, None


align_transducer.register_autograd(_differentiate, setup_context=_keep)

"""The sum over all alignments of CTC, and its gradient, on torch (Graves et al. 2006, section 4).

Forward and backward variables run in one loop over time, the backward ones as the forward ones of the reversed sample,
in log space and float64. Torch's own `ctc_loss` is not used: on CUDA it waits for the device to read the lengths, so a
step with it cannot be a CUDA graph, and it adds its gradient up in any order, so that no two runs are the same. Here
nothing waits, and the same input gives the same bits.
"""

from typing import Any

import torch
from torch import Tensor

NEVER = float("-inf")


def ctc_losses(scores: Tensor, labels: Tensor, frame_lengths: Tensor, label_lengths: Tensor, blank: int) -> Tensor:
    """Return -log P(labels | scores) of each sample, float32 [batch]; infinite where they cannot be aligned.

    A sample with an infinite loss has a gradient of zero.

    Args:
        scores: [batch, time, tokens], before the softmax.
        labels: [batch, label] without blank; what lies behind a sample's length is not looked at.
        frame_lengths: [batch], frames that count.
        label_lengths: [batch].
        blank: the token that stands for nothing.
    """
    losses, *_ = align_ctc(scores, labels, frame_lengths, label_lengths, blank)
    return losses  # type: ignore[no-any-return]  # the operator has no types


@torch.library.custom_op("modelwright::align_ctc", mutates_args=())
def align_ctc(
    scores: Tensor, labels: Tensor, frame_lengths: Tensor, label_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses and what their gradient is made of. One operator, so that compilers do not unroll its loop.

    Returns:
        Losses [batch]; the log of each frame's softmax denominator [batch, time], infinite for frames that do not
        count; the expected share of each frame that is spent on blank and on each label's token [batch, time, 1 +
        label], tokens that are the same added up. All float32.
    """
    tokens = _tokens(labels, label_lengths, blank)
    norms = scores.float().logsumexp(-1)
    picked = scores.gather(2, _by_frame(tokens, scores)).double() - norms.double().unsqueeze(2)
    losses, shares = _expected(picked, tokens, frame_lengths.long(), label_lengths.long())
    same = (tokens.unsqueeze(2) == tokens.unsqueeze(1)).double()
    counted = torch.arange(scores.shape[1], device=scores.device) < frame_lengths.unsqueeze(1)
    counted = counted & losses.isfinite().unsqueeze(1)
    return losses.float(), norms.masked_fill(~counted, float("inf")), (shares @ same).float()


@align_ctc.register_fake
def _(
    scores: Tensor, labels: Tensor, frame_lengths: Tensor, label_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    batch, time, _ = scores.shape
    sizes = ((batch,), (batch, time), (batch, time, labels.shape[1] + 1))
    losses, norms, shares = (scores.new_empty(size, dtype=torch.float32) for size in sizes)
    return losses, norms, shares


def _expected(picked: Tensor, tokens: Tensor, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    # Of log probabilities [batch, time, 1 + label] of blank and labels: losses, and what each frame is spent on.
    batch, time, width = picked.shape
    state = torch.arange(2 * width - 1, device=picked.device)
    # States are blank, label, blank, label ... blank.
    place = torch.where(state % 2 == 1, (state + 1) // 2, 0)
    logs, names = picked[:, :, place], tokens[:, place]
    frame = torch.arange(time, device=picked.device)
    back_frame = (frames.unsqueeze(1) - 1 - frame).clamp(min=0)
    back_state = (2 * labels.unsqueeze(1) - state).clamp(min=0)
    rows = torch.arange(batch, device=picked.device).view(-1, 1, 1)
    turned = (rows, back_frame.unsqueeze(2), back_state.unsqueeze(1))
    both = torch.cat([logs, logs[turned]])
    paths = _forward(both.transpose(0, 1), _skips(torch.cat([names, names.gather(1, back_state)])))
    ends = paths[(frames - 1).clamp(min=0), rows[:, 0, 0]]
    # Two columns of padding stand before the states.
    end = 2 * labels.unsqueeze(1) + 2
    total = torch.logaddexp(ends.gather(1, end), ends.gather(1, end - 1)).squeeze(1)
    empty = torch.where(labels == 0, 0.0, NEVER).double()
    total = torch.where(frames > 0, total, empty)
    alpha, beta = paths[:, :batch, 2:].transpose(0, 1), paths[:, batch:, 2:].transpose(0, 1)[turned]
    spent = alpha + beta - logs - total.view(-1, 1, 1)
    possible = (frame < frames.unsqueeze(1)).unsqueeze(2) & (state <= 2 * labels.unsqueeze(1)).unsqueeze(1)
    possible = possible & logs.isfinite() & total.isfinite().view(-1, 1, 1)
    share = torch.where(possible, spent, NEVER).exp()
    return -total, torch.cat([share[:, :, 0::2].sum(2, keepdim=True), share[:, :, 1::2]], 2)


def _forward(logs: Tensor, skips: Tensor) -> Tensor:
    # Forward variables [time, rows, 2 + states] of log probabilities [time, rows, states], two columns of padding.
    time, rows, states = logs.shape
    paths = logs.new_full((time, rows, states + 2), NEVER)
    paths[0, :, 2:4] = logs[0, :, :2]
    for t in range(1, time):
        before = paths[t - 1]
        near = torch.logaddexp(before[:, 2:], before[:, 1:-1])
        torch.add(torch.logaddexp(near, before[:, :-2] + skips), logs[t], out=paths[t, :, 2:])
    return paths


def _skips(names: Tensor) -> Tensor:
    # 0 where a state may follow the one two before it: a label after another one. [rows, states].
    skips = torch.full(names.shape, NEVER, dtype=torch.float64, device=names.device)
    fresh = names[:, 3::2] != names[:, 1:-2:2]
    skips[:, 3::2] = torch.where(fresh, 0.0, NEVER).double()
    return skips


def _tokens(labels: Tensor, lengths: Tensor, blank: int) -> Tensor:
    # Blank and the labels, blank behind their end. [batch, 1 + label].
    real = torch.arange(labels.shape[1], device=labels.device) < lengths.unsqueeze(1)
    return torch.nn.functional.pad(torch.where(real, labels, blank).long(), (1, 0), value=blank)


def _by_frame(tokens: Tensor, scores: Tensor) -> Tensor:
    return tokens.unsqueeze(1).expand(-1, scores.shape[1], -1)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401 - torch's
    scores, labels, _, label_lengths, blank = inputs
    _, norms, shares = output
    ctx.save_for_backward(scores, _tokens(labels, label_lengths, blank), norms, shares)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - torch's
    # Softmax less the expected share, a token's written once however often it stands among the labels.
    scores, tokens, norms, shares = ctx.saved_tensors
    places = _by_frame(tokens, scores)
    softmax = (scores.float() - norms.unsqueeze(2)).exp()
    gradient = softmax.scatter(2, places, softmax.gather(2, places) - shares)
    return (gradient * upstream.view(-1, 1, 1)).to(scores.dtype), None, None, None, None


align_ctc.register_autograd(_differentiate, setup_context=_keep)

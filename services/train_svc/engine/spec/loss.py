"""What a step lowers."""

from dataclasses import dataclass
from typing import Literal

from services.train_svc.engine.reading import Named, setting

IGNORED = -100
"""Label of places that count for nothing."""

LossName = Literal[
    "cross_entropy", "ctc", "attention", "ctc_attention", "rnnt", "language_model", "masked_lm", "segmentation",
    "regression", "forecast",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LossSpec(Named):
    """What a step lowers. The name alone may stand for it: `loss: ctc`.

    Each loss is a sum over a batch and a weight that it is divided by, so that a batch in pieces (accumulation,
    several processes) gives the gradient of the whole one.
    """

    name: LossName = "cross_entropy"
    """cross_entropy: scores [batch, classes] or [batch, time, classes] (sequence labelling), targets `labels`.
    ctc: scores `ctc` or the model's one output [batch, time, tokens], targets `labels` [batch, label],
    `label_lengths`, `frame_lengths` (Graves et al. 2006). attention: scores `logits` [batch, label + 1, tokens],
    targets as ctc's. ctc_attention: both, `ctc_weight` of the first (Kim et al. 2017, arXiv 1609.06773). rnnt: scores
    [batch, time, label + 1, tokens] (Graves 2012, arXiv 1211.3711). language_model: scores [batch, time, tokens],
    targets `labels` [batch, time], already shifted. masked_lm: the same, places that are not masked -100.
    segmentation: scores [batch, classes, height, width], enlarged to the targets `labels` [batch, height, width].
    regression, forecast: `labels` of the output's shape."""
    ctc_weight: float = setting(0.3, least=0, most=1)
    """Of `ctc_attention`: share of CTC; the rest is the attention decoder's."""
    reverse_weight: float = setting(0.0, least=0, most=1)
    """Of `ctc_attention`: within the decoder's share, that of the right-to-left `reverse_logits` (U2++: 0.3)."""
    blank: int = setting(0, least=0)
    """Of `ctc`, `ctc_attention` and `rnnt`: the token that stands for nothing."""
    ignored: int = IGNORED
    """Label of places that count for nothing."""
    form: Literal["squared", "absolute", "huber"] = "squared"
    """Of `regression` and `forecast`: squared error, absolute error, or Huber's with delta 1."""

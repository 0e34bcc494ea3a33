"""The metrics that belong to a loss."""

from services.train_svc.engine.metrics.choice import SPEECH
from services.train_svc.engine.metrics.classification import Accuracy, Confusion
from services.train_svc.engine.metrics.language import Perplexity
from services.train_svc.engine.metrics.metric import Metric, Vocabulary
from services.train_svc.engine.metrics.numeric import Deviation
from services.train_svc.engine.metrics.segmentation import Segmentation
from services.train_svc.engine.metrics.speech import ErrorRates
from services.train_svc.engine.metrics.transcripts import reader_for
from services.train_svc.engine.spec import LossSpec

MOST_CLASSES = 4096
"""With more, F1 is left out: its table of all pairs of classes would take more than 128 MiB."""


def build_metrics(loss: LossSpec, *, classes: int | None, vocabulary: Vocabulary | None = None) -> list[Metric]:
    """Return the metrics of a loss, empty, for one evaluation.

    Args:
        loss: says what the model is for.
        classes: how many there are; None: as many as the model has scores, which is found out at the first batch.
        vocabulary: of speech: turns tokens into text; None: each token counts as one character.
    """
    if loss.name in SPEECH:
        return [ErrorRates(reader_for(loss), vocabulary, ignored=loss.ignored)]
    if loss.name in ("language_model", "masked_lm"):
        return [Perplexity(loss), Accuracy(loss)]
    if loss.name == "segmentation":
        return [Segmentation(loss, classes)]
    if loss.name in ("regression", "forecast"):
        return [Deviation(loss)]
    found: list[Metric] = [Accuracy(loss)]
    if classes is None or classes <= MOST_CLASSES:
        found.append(Confusion(loss, classes))
    return found

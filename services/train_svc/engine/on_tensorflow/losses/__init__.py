"""The losses on TensorFlow: sums over a batch, in float32, that never wait for the device."""

from collections.abc import Mapping

from services.train_svc.engine.on_tensorflow.losses.classification import CrossEntropy, Segmentation
from services.train_svc.engine.on_tensorflow.losses.connectionist import Attention, Ctc, CtcAttention
from services.train_svc.engine.on_tensorflow.losses.language import LanguageModel
from services.train_svc.engine.on_tensorflow.losses.loss import Loss
from services.train_svc.engine.on_tensorflow.losses.regression import Regression
from services.train_svc.engine.on_tensorflow.losses.transducer import Transducer
from services.train_svc.engine.spec import LossSpec

__all__ = ["LOSSES", "Loss", "build_loss"]

LOSSES: Mapping[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "segmentation": Segmentation,
    "ctc": Ctc,
    "attention": Attention,
    "ctc_attention": CtcAttention,
    "rnnt": Transducer,
    "language_model": LanguageModel,
    "masked_lm": LanguageModel,
    "regression": Regression,
    "forecast": Regression,
}
"""By the names of `LossSpec`."""


def build_loss(spec: LossSpec, *, label_smoothing: float) -> Loss:
    """Return the loss that a spec names.

    Args:
        spec: the loss.
        label_smoothing: share of the target that is spread over all classes, of every cross entropy (Szegedy et al.
            2015, arXiv 1512.00567); CTC, RNN-T and regression have none.
    """
    return LOSSES[spec.name](spec, label_smoothing)

"""Makes learners on TensorFlow."""

import random
from typing import Any

import tensorflow as tf

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.augment.scaling import SHARES, Scaling
from services.train_svc.engine.chance import seed_of
from services.train_svc.engine.memory.measures import NOTHING, Ladder, Measures
from services.train_svc.engine.on_tensorflow.learner import TensorflowLearner
from services.train_svc.engine.on_tensorflow.model import build_tensorflow
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import TrainSpec


def make_learner(
    source: Any,  # noqa: ANN401 - a description, or a user's own Keras model
    spec: TrainSpec,
    scaling: Scaling = SHARES,
    measures: Measures = NOTHING,
    *,
    trial: bool = False,
) -> TensorflowLearner:
    """Return a model in training; arguments as on torch, but measures, of which there are none here.

    Raises:
        InvalidError: the spec asks for what this engine does not do.
    """
    del measures, trial
    _check(spec)
    if isinstance(source, Description):
        # Keras's initializers draw their seeds from Python's own generator.
        before = random.getstate()
        random.seed(seed_of(spec.seed, "weights"))
        source = build_tensorflow(source)
        random.setstate(before)
    return TensorflowLearner(source, spec, scaling=scaling)


def rungs(source: Any, spec: TrainSpec, batch: int) -> Ladder:  # noqa: ANN401 - as `make_learner`
    """Return the measures that a run may take, arguments as on torch: there are none here.

    Raises:
        InvalidError: the spec asks for what this engine does not do, such as a memory budget.
    """
    del source, batch
    _check(spec)
    return ()


def _check(spec: TrainSpec) -> None:
    if spec.precision.name not in ("auto", "fp32") or spec.precision.policy:
        raise fault("train.precision", f"{spec.precision.name} is trained on torch; with engine: tensorflow use fp32")
    if spec.memory_budget.size_bytes is not None:
        raise fault("train.memory_budget", "is kept on torch alone; leave it out, or use engine: torch")
    if spec.device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise InvalidError("train.device is 'cuda', but this worker sees no GPU; use 'auto'", field="train.device")

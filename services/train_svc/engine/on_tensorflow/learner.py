"""A model in training on TensorFlow: one step, whole or in pieces, as one traced function."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from services.common.errors import InvalidError
from services.train_svc.engine.augment.scaling import SHARES, Scaling
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.on_tensorflow.augmenting import augment
from services.train_svc.engine.on_tensorflow.calling import Tensors, call
from services.train_svc.engine.on_tensorflow.clipping import build_clipper
from services.train_svc.engine.on_tensorflow.ema import Ema
from services.train_svc.engine.on_tensorflow.faults import first_fault
from services.train_svc.engine.on_tensorflow.gates import has_gates, settle_gates
from services.train_svc.engine.on_tensorflow.losses import build_loss
from services.train_svc.engine.on_tensorflow.optimizer import build_optimizer, set_rate
from services.train_svc.engine.on_tensorflow.trainstate import TensorflowSnapshot, fill_state, state_arrays
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.learner import Measured, Moment, Predicted

Piece = tuple[Tensors, Tensors]
"""Inputs and targets as tensors."""


class TensorflowLearner:
    """Model, loss, optimizer and average on TensorFlow (`training.learner.Learner`).

    Args:
        model: what `build` made.
        spec: how it is trained.
        scaling: mean and deviation of pictures of bytes.
    """

    def __init__(self, model: Any, spec: TrainSpec, *, scaling: Scaling = SHARES) -> None:  # noqa: ANN401 - Keras's
        self.model = model
        self.spec = spec
        self.pieces = spec.accumulate
        self.precision = "fp32"
        self._scaling = scaling
        self.loss = build_loss(spec.loss, label_smoothing=spec.label_smoothing)
        self.optimizer = build_optimizer(model, spec.optimizer)
        self.clipper = build_clipper(spec.clip, model)
        self.ema = Ema(model, spec.ema_decay) if spec.ema_decay else None
        self._gated = has_gates(model)
        self._run = self._step if spec.compile == "off" else tf.function(self._step, reduce_retracing=True)

    def running(self) -> AbstractContextManager[Any]:
        """Return nothing: steps draw from seeds of their own."""
        return nullcontext()

    def learn(self, batch: Batch, moment: Moment) -> Sequence[Measured]:
        """Make one step."""
        set_rate(self.optimizer, moment.rate)
        if self.ema:
            self.ema.begin(moment.step)
        pieces = [self._moved(piece) for piece in batch.pieces(self.spec.accumulate)]
        loss, norm, applied = np.asarray(self._run(pieces, _seed(moment.seed))).tolist()
        return [Measured(step=moment.step + 1, loss=loss, gradient_norm=norm, applied=applied > 0)]

    def settle(self) -> Sequence[Measured]:
        """Return nothing: every step was waited for."""
        return ()

    def predict(self, batch: Batch) -> Predicted:
        """Return what the model makes of a batch, nothing dropped."""
        inputs, targets = self._moved(batch)
        outputs = call(self.model, inputs, training=False)
        total, weight = self.loss.total(outputs, targets), self.loss.weight(targets)
        arrays = {name: np.asarray(tensor) for name, tensor in outputs.items()}
        return Predicted(outputs=arrays, total=float(total), weight=float(weight))

    def output_shapes(self, batch: Batch) -> Mapping[str, Sequence[int]]:
        """Return the shape of each output for a sample of a batch; raises what the model raises."""
        outputs = call(self.model, self._moved(batch.cut(slice(0, 1)))[0], training=False)
        return {name: tuple(tensor.shape) for name, tensor in outputs.items()}

    def state(self) -> TensorflowSnapshot:
        """Return a copy of all that a run needs to go on."""
        return TensorflowSnapshot(state_arrays(self))

    def fill(self, tensors: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        fill_state(self, tensors)

    def metered(self) -> AbstractContextManager[Any]:
        """Return nothing: memory is planned for on torch alone."""
        return nullcontext()

    def close(self) -> None:
        """Do nothing: memory goes with the model."""

    def averaged(self) -> AbstractContextManager[Any]:
        """Return a context in which the model holds the average of its weights, if one is kept."""
        return self.ema.lent_to(self.model) if self.ema else nullcontext()

    def adopt_average(self) -> None:
        """Give the model the average of its weights for good."""
        if self.ema:
            self.ema.copy_to(self.model)

    def first_fault(self, batch: Batch, moment: Moment) -> str:
        """Return the name of the first layer whose output, or weight whose gradient, is not finite; empty: none."""
        for number, piece in enumerate(batch.pieces(self.pieces)):
            inputs, targets = self._moved(piece)
            weight = tf.maximum(self.loss.weight(targets), 1e-6)
            loss = partial(self._part, inputs, targets, weight, tf.add(_seed(moment.seed), [0, number]))
            found = first_fault(self.model, loss, self.optimizer.variables)
            if found:
                return found
        return ""

    @property
    def peak_bytes(self) -> int:
        """Most memory of the first GPU that was taken so far; 0: there is none."""
        cards = tf.config.list_logical_devices("GPU")
        return int(tf.config.experimental.get_memory_info(cards[0].name)["peak"]) if cards else 0

    @property
    def device_bytes(self) -> int:
        """Return 0: TensorFlow does not say."""
        return 0

    @property
    def parameters(self) -> int:
        """Numbers that are learnt."""
        return sum(int(np.prod(variable.shape)) for variable in self.optimizer.trained)

    @property
    def device_name(self) -> str:
        """What computes."""
        return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"

    @property
    def first_steps(self) -> int:
        """Steps after which it runs as it will."""
        return 2

    @property
    def version(self) -> str:
        """Version of TensorFlow."""
        return str(tf.__version__)

    def _moved(self, batch: Batch) -> Piece:
        changed = augment(_tensors(batch.inputs), _tensors(batch.draws), self.spec.augment, scaling=self._scaling)
        return changed, _tensors(batch.targets)

    def _step(self, pieces: Sequence[Piece], seed: tf.Tensor) -> tf.Tensor:
        # [loss, gradient norm, whether it was applied]
        # Where nothing counts, as by chance in a masked language model, there is nothing to divide.
        weight = tf.maximum(tf.add_n([self.loss.weight(targets) for _, targets in pieces]), 1e-6)
        loss, sums = tf.constant(0.0), [tf.zeros_like(variable) for variable in self.optimizer.trained]
        for number, (inputs, targets) in enumerate(pieces):
            with tf.GradientTape() as tape:
                part = self._part(inputs, targets, weight, tf.add(seed, [0, number]))
            found = tape.gradient(part, self.optimizer.trained)
            self._check(found)
            sums = [total if new is None else total + new for total, new in zip(sums, found, strict=True)]
            loss += part
        if self._gated:
            sums = settle_gates(self.model, self.optimizer, sums)
        gradients, norm = self.clipper.clip(sums)
        fine = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        self.optimizer.apply(gradients, skip=1.0 - tf.cast(fine, tf.float32))
        if self.ema:
            self.ema.update(self.model)
        return tf.stack([loss, norm, tf.cast(fine, tf.float32)])

    def _part(self, inputs: Tensors, targets: Tensors, weight: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return self.loss.total(call(self.model, inputs, training=True, seed=seed), targets) / weight

    def _check(self, gradients: Sequence[Any]) -> None:
        if all(each is None for each in gradients):
            raise InvalidError("no weight gets a gradient from the loss; is the model frozen?", field="model")


def _tensors(arrays: Mapping[str, Any]) -> Tensors:
    return {name: tf.convert_to_tensor(np.asarray(array)) for name, array in arrays.items()}


def _seed(seed: int) -> tf.Tensor:
    return tf.constant([seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF], tf.int32)

"""Gradients kept from leaping, on TensorFlow; the rules are those of `on_torch.clipping`."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from services.train_svc.engine.architecture.blocks.linear import Linear, TiedLinear
from services.train_svc.engine.architecture.node import Param
from services.train_svc.engine.on_tensorflow.block import LAYOUTS
from services.train_svc.engine.on_tensorflow.model import Model
from services.train_svc.engine.on_tensorflow.tensors import named_variables
from services.train_svc.engine.slots import check_memory
from services.train_svc.engine.spec import ClipSpec

Arrays = dict[str, npt.NDArray[Any]]
SMALLEST_WEIGHT = 1e-3
"""Weights' norm below which AGC takes a unit for one of this norm."""


class Clipper:
    """Measures the gradients, and scales all of them by one factor where their norm is over a limit. This has none.

    Args:
        spec: which rule, and its settings.
        model: whose trainable variables the gradients are of.
    """

    def __init__(self, spec: ClipSpec, model: Any) -> None:  # noqa: ANN401 - as `build_clipper`
        self.spec = spec
        self.state: dict[str, Any] = {}

    def clip(self, gradients: Sequence[Any]) -> tuple[list[Any], tf.Tensor]:
        """Return clipped gradients, and their norm before it, float32 [].

        Args:
            gradients: of the optimizer's `trained`, in its order; None where there is none.
        """
        dense = [None if each is None else tf.convert_to_tensor(each) for each in gradients]
        squares = [tf.reduce_sum(tf.square(tf.cast(each, tf.float32))) for each in dense if each is not None]
        norm = tf.sqrt(tf.add_n(squares)) if squares else tf.zeros([])
        return self.bound(dense, norm), norm

    def bound(self, gradients: list[Any], norm: tf.Tensor) -> list[Any]:
        """Return gradients whose common norm is `norm` scaled."""
        limit = self.limit(norm)
        if limit is None:
            return gradients
        factor = tf.where(tf.math.is_finite(norm) & (norm > limit), limit / norm, 1.0)
        return [None if each is None else each * tf.cast(factor, each.dtype) for each in gradients]

    def limit(self, norm: tf.Tensor) -> tf.Tensor | None:
        """Return the largest norm allowed, after taking note of this one; None: any."""
        return None

    def tensors(self) -> Arrays:
        """Return what it remembers, by names that are the same on both engines."""
        return {name: np.asarray(variable) for name, variable in self.state.items()}

    def fill(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `tensors` gave, on this engine or the other; of none, begin as if new.

        Raises:
            InvalidError: it is of another rule or another length of history.
        """
        if tensors:
            given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            check_memory({name: tuple(own.shape) for name, own in self.state.items()}, given, "clip")
        for name, own in self.state.items():
            own.assign(np.asarray(tensors[name]) if tensors else np.zeros(own.shape))

    def _remember(self, fine: tf.Tensor, **values: tf.Tensor) -> None:
        for name, value in values.items():
            self.state[name].assign(tf.where(fine, value, self.state[name]))


class NormClipper(Clipper):
    """To a largest norm."""

    def limit(self, norm: tf.Tensor) -> tf.Tensor:
        """Return `max_norm`."""
        return tf.fill([], self.spec.max_norm)


class AutoClipper(Clipper):
    """To a percentile of the last norms, this one among them."""

    def __init__(self, spec: ClipSpec, model: Any) -> None:  # noqa: ANN401 - as `build_clipper`
        super().__init__(spec, model)
        self.state = {"history": _kept([spec.history], tf.float32), "count": _kept([], tf.int64)}

    def limit(self, norm: tf.Tensor) -> tf.Tensor:
        """Return the percentile."""
        size, slots = self.spec.history, tf.range(self.spec.history, dtype=tf.int64)
        here = slots == self.state["count"] % size
        history = tf.where(here, norm, self.state["history"])
        self._remember(tf.math.is_finite(norm), history=history, count=self.state["count"] + 1)
        filled = tf.minimum(self.state["count"], size)
        last = tf.maximum(filled - 1, 0)
        ordered = tf.sort(tf.where(slots < filled, self.state["history"], np.inf))
        place = tf.cast(last, tf.float64) * (self.spec.percentile / 100)
        low = tf.cast(tf.floor(place), tf.int64)
        # No further than the last norm: behind it is infinity.
        high = tf.minimum(low + 1, last)
        below, above = tf.gather(ordered, low), tf.gather(ordered, high)
        share = tf.cast(place - tf.cast(low, tf.float64), tf.float32)
        return tf.where(high > low, below + share * (above - below), below)


class ZClipper(Clipper):
    """By the z-score of the norm."""

    def __init__(self, spec: ClipSpec, model: Any) -> None:  # noqa: ANN401 - as `build_clipper`
        super().__init__(spec, model)
        self.state = {name: _kept([], tf.float32) for name in ("mean", "variance")} | {"count": _kept([], tf.int64)}

    def limit(self, norm: tf.Tensor) -> tf.Tensor:
        """Return the norm to which a spike is clipped, and infinity where this is none."""
        mean, variance, count = (tf.identity(self.state[name]) for name in ("mean", "variance", "count"))
        warm, away, target = count < self.spec.warmup, norm - mean, self.spec.z_score
        spike = ~warm & (variance > 0) & (away > target * tf.sqrt(variance))
        limit = tf.where(spike, mean + target**2 * variance / away, np.inf)
        kept, seen = tf.minimum(norm, limit), tf.cast(count, tf.float32)
        # While warming up the weights are those of plain means.
        past = tf.where(warm, seen / (seen + 1), self.spec.alpha)
        middle = past * mean + (1 - past) * kept
        distance = tf.where(warm, (kept - mean) * (kept - middle), tf.square(kept - middle))
        spread = past * variance + (1 - past) * distance
        self._remember(tf.math.is_finite(norm), mean=middle, variance=spread, count=count + 1)
        return limit


class UnitClipper(Clipper):
    """AGC: unit by unit, to `ratio` of the weights' norm; the last linear layer is left alone."""

    def __init__(self, spec: ClipSpec, model: Any) -> None:  # noqa: ANN401 - as `build_clipper`
        super().__init__(spec, model)
        free = _last_linear(model)
        self._units = [
            None if name in free else (variable, _unit_axis(model, param))
            for name, (variable, param) in named_variables(model).items()
            if param.trainable
        ]

    def bound(self, gradients: list[Any], norm: tf.Tensor) -> list[Any]:
        """Return the gradients, each unit's scaled by its own factor."""
        return [
            gradient if gradient is None or unit is None else self._bound(gradient, *unit)
            for gradient, unit in zip(gradients, self._units, strict=True)
        ]

    def _bound(self, gradient: tf.Tensor, variable: Any, axis: int | None) -> tf.Tensor:  # noqa: ANN401 - Keras's
        weights = _unit_norms(tf.convert_to_tensor(variable), axis)
        limit, found = self.spec.ratio * tf.maximum(weights, SMALLEST_WEIGHT), _unit_norms(gradient, axis)
        factor = tf.where(tf.math.is_finite(found) & (found > limit), limit / found, 1.0)
        return gradient * tf.cast(factor, gradient.dtype)


def _unit_axis(model: Any, param: Param) -> int | None:  # noqa: ANN401 - as `build_clipper`
    # The axis of outputs; None: all of it is one unit. Keras has outputs last.
    if sum(size != 1 for size in param.shape) <= 1:
        return None
    if not isinstance(model, Model):
        return len(param.shape) - 1
    return LAYOUTS.get(param.layout, (0,)).index(0)


def _unit_norms(x: tf.Tensor, axis: int | None) -> tf.Tensor:
    axes = [each for each in range(len(x.shape)) if each != axis]
    return tf.sqrt(tf.reduce_sum(tf.square(tf.cast(x, tf.float32)), axes, keepdims=True))


def _last_linear(model: Any) -> set[str]:  # noqa: ANN401 - as `build_clipper`
    if not isinstance(model, Model):
        dense = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]
        own = [id(variable) for variable in dense[-1].variables] if dense else []
        return {name for name, (variable, _) in named_variables(model).items() if id(variable) in own}
    nodes = [node for node in model.description.root.walk() if isinstance(node.block, Linear | TiedLinear)]
    if not nodes:
        return set()
    names, block = {f"{nodes[-1].name}.{name}" for name in nodes[-1].parameters}, nodes[-1].block
    return names | ({f"{block.of}.weight"} if isinstance(block, TiedLinear) else set())


def _kept(shape: list[int], dtype: tf.DType) -> Any:  # noqa: ANN401 - TensorFlow has no types
    return tf.Variable(tf.zeros(shape, dtype), trainable=False)


RULES: dict[str, type[Clipper]] = {
    "none": Clipper,
    "norm": NormClipper,
    "autoclip": AutoClipper,
    "zclip": ZClipper,
    "agc": UnitClipper,
}


def build_clipper(spec: ClipSpec, model: Any) -> Clipper:  # noqa: ANN401 - ours, or a user's Keras model
    """Return what clips the gradients of a model as the spec says.

    Args:
        spec: which rule, and its settings.
        model: what `build` made, or a user's own Keras model.
    """
    return RULES[spec.name](spec, model)

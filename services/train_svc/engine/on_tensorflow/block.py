"""What the TensorFlow side of a block is, and how a resolved tree becomes layers."""

from collections.abc import Callable
from typing import Any, TypeVar

import keras
import tensorflow as tf

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.node import Node, Param
from services.train_svc.engine.context import Context

T = TypeVar("T", bound=type["TensorflowBlock"])
MAKERS: dict[type[Block], type["TensorflowBlock"]] = {}
"""What builds each kind of block."""
LAYOUTS = {"conv1d": (2, 1, 0), "conv2d": (2, 3, 1, 0), "depthwise2d": (2, 3, 0, 1)}
"""Where each axis here stands in the canonical layout: kernels are stored as TensorFlow's convolutions take them."""


def builds(*kinds: type[Block]) -> Callable[[T], T]:
    """Register a `TensorflowBlock` as what builds these kinds."""

    def register(maker: T) -> T:
        MAKERS.update(dict.fromkeys(kinds, maker))
        return maker

    return register


class TensorflowBlock(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A block on TensorFlow. Pictures are [batch, height, width, channels] here, sequences as on torch.

    Blocks call one another's `call` straight away: Keras's own dispatch would cost more than most of them.
    """

    def __init__(self, node: Node, builder: "Builder") -> None:
        super().__init__(name=node.name or None)
        self.block: Any = node.block
        self.node = node
        self.inner = {name: builder.build(child) for name, child in node.children.items()}
        self.own = {name: self._variable(name, param) for name, param in node.parameters.items()}
        self.built = True

    def _variable(self, name: str, param: Param) -> Any:  # noqa: ANN401 - Keras has no types
        axes = LAYOUTS.get(param.layout, range(len(param.shape)))
        shape = tuple(param.shape[axis] for axis in axes)
        return self.add_weight(
            name=name, shape=shape, initializer=_initializer(param), trainable=param.trainable, dtype=param.dtype
        )

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return what the block makes of `x`."""
        raise NotImplementedError(type(self).__name__)

    def run(self, child: str, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return what a child makes of `x`."""
        return self.inner[child].call(x, context)

    def run_all(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return what all children, one after the other, make of `x`."""
        for child in self.inner.values():
            x = child.call(x, context)
        return x

    def begun(self, context: Context) -> dict[str, tf.Tensor]:
        """Return those carried tensors, by full name, that begin empty, in the size that they have from then on."""
        return {}

    def carried(self, context: Context, state: str) -> tf.Tensor:
        """Return the tensor that the step before left."""
        assert context.state is not None
        return context.state[f"{self.node.name}.{state}"]

    def carry(self, context: Context, state: str, tensor: tf.Tensor) -> None:
        """Leave a tensor for the next step."""
        context.new_state[f"{self.node.name}.{state}"] = tensor


def _initializer(param: Param) -> Any:  # noqa: ANN401 - Keras has no types
    value = param.init.value
    if param.init.table is not None:
        return keras.initializers.Constant(param.init.table(param.shape))
    if param.init.kind == "constant":
        return keras.initializers.Constant(value)
    if param.init.kind == "normal":
        return keras.initializers.RandomNormal(0.0, value)
    if param.init.kind == "uniform":
        return keras.initializers.RandomUniform(-value, value)
    return keras.initializers.TruncatedNormal(0.0, value)


def size_of(x: tf.Tensor, axis: int) -> Any:  # noqa: ANN401 - int, or a scalar tensor where it is not known
    """Return a size of a tensor: a number where it is known while tracing."""
    static = x.shape[axis]
    return tf.shape(x)[axis] if static is None else static


def key_mask(context: Context, time: Any) -> tf.Tensor | None:  # noqa: ANN401 - as `size_of`
    """Return [batch, time], true where what flows is real, or None where all is."""
    if context.lengths is not None:
        return tf.range(time)[None, :] < tf.cast(context.lengths, tf.int32)[:, None]
    return None if context.mask is None else tf.cast(context.mask, tf.bool)


class Builder:
    """Makes the layers of one model."""

    def __init__(self) -> None:
        self.layers: dict[str, TensorflowBlock] = {}
        """Those made so far, by name; for blocks that share another's matrix."""

    def build(self, node: Node) -> TensorflowBlock:
        """Return the layer of a node."""
        layer = MAKERS[type(node.block)](node, self)
        self.layers[node.name] = layer
        return layer

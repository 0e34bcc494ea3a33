"""Convolutions whose kernels are kept as direction and length."""

import math
from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.convolution import grouped_inputs
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class PositionalConv1d(Block):
    """A wide grouped convolution over time that keeps the time, padding zeroed: positions in wav2vec 2.0.

    Its kernel is g v / |v|, one length g for each frame of the kernel (Salimans and Kingma 2016, arXiv 1602.07868).
    """

    kind: ClassVar[str] = "positional_conv1d"
    sensitive: ClassVar[bool] = True

    kernel_size: int = setting(128, least=1)
    """Frames that one output sees; of an even number, one more before it than after."""
    groups: int = setting(16, least=1)
    """Groups of features that do not see one another."""

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros added on the left and on the right."""
        return self.kernel_size // 2, (self.kernel_size - 1) // 2

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        time, wide = sequence(self, shape, at)
        inner = grouped_inputs(wide, wide, self.groups, at)
        std = 2 / math.sqrt(self.kernel_size * wide)
        parameters = {
            "weight_g": Param(shape=(1, 1, self.kernel_size), init=Init("constant", std * math.sqrt(wide * inner)),
                              layout="conv1d"),
            "weight_v": Param(shape=(wide, inner, self.kernel_size), init=Init("normal", std), layout="conv1d"),
            "bias": Param(shape=(wide,)),
        }  # fmt: skip
        cost = times(time, wide, inner, self.kernel_size)
        return at.node(self, shape, shape, parameters=parameters, multiply_adds=cost)

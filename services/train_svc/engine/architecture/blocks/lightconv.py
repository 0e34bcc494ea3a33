"""Lightweight and dynamic convolution (Wu et al. 2019, arXiv 1901.10430)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, State, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class SharedKernel(Block):
    """A convolution over time whose kernels sum to 1 and are each shared by features / heads neighbouring features.

    What is padding counts as zeros.
    """

    stride: ClassVar[int] = 1
    mask_padding: ClassVar[bool] = True

    heads: int = setting(least=1)
    """How many kernels there are."""
    kernel_size: int = setting(3, least=1)
    """Frames that one output sees."""
    causal: bool = False
    """See the past alone, for decoders; the frames before are carried in a loop. Otherwise as much on both sides."""
    weight_dropout: float = setting(0.0, least=0, below=1)
    """Share of the normalised weights that is zeroed while training: DropConnect."""

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros added on the left and on the right, which keep the time."""
        size = self.kernel_size
        return (size - 1, 0) if self.causal else ((size - 1) // 2, size // 2)

    def _features(self, shape: Shape, at: Place) -> int:
        wide = sequence(self, shape, at)[1]
        if wide % self.heads:
            raise at.inside("heads").fault(f"{self.heads} heads do not divide {wide} features; choose a divisor")
        return wide

    def _states(self, wide: int) -> dict[str, State]:
        carries = self.causal and self.kernel_size > 1
        return {"left": State(shape=(self.kernel_size - 1, wide))} if carries else {}


@dataclass(frozen=True, kw_only=True)
class LightweightConv(SharedKernel):
    """sum over j of softmax(W)[h, j] x[i + j - left]: LightConv's learned kernels, one a head."""

    kind: ClassVar[str] = "lightweight_conv"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        wide = self._features(shape, at)
        # Xavier's uniform, as the authors' implementation has it for [heads, 1, kernel_size].
        bound = math.sqrt(6 / (self.kernel_size * (1 + self.heads)))
        weight = Param(shape=(self.heads, self.kernel_size), init=Init("uniform", bound))
        cost = times(*shape, self.kernel_size)
        return at.node(self, shape, shape, parameters={"weight": weight}, states=self._states(wide), multiply_adds=cost)


@dataclass(frozen=True, kw_only=True)
class DynamicConv(SharedKernel):
    """The same with a kernel a frame: softmax over j of (W x[i])[h, j], with one linear layer W for all heads."""

    kind: ClassVar[str] = "dynamic_conv"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        wide = self._features(shape, at)
        out = self.heads * self.kernel_size
        kernels = Linear(out_features=out, bias=False, init_std=math.sqrt(2 / (wide + out)))
        children = {"kernels": at.child("kernels", kernels, shape)}
        cost = times(*shape, self.kernel_size)
        return at.node(self, shape, shape, children=children, states=self._states(wide), multiply_adds=cost)

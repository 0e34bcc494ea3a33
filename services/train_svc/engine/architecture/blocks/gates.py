"""The gradient reset gate."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.node import Node, Param, Place, Shape
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class GradientResetGate(Block):
    """An identity that watches the gradient which comes back through it, and resets what is behind it on a spike.

    It detects: the gradient's norm (L2, over the whole batch) is not finite, or lies more than `z_score` standard
    deviations above its running mean (ZClip, arXiv 2504.02507, equations 3 to 6).
    It resets: the gradient, to zero, so that nothing behind the gate learns from this step; and the optimizer's
    moments of the blocks before it in its list, which would carry earlier noise on (SPAM, arXiv 2501.06842, section 4).
    A spike does not enter the running mean. The name has no one published meaning; this is Modelwright's.

    Training loops call the engine's `settle_gates` after the backward pass and before clipping; ours does.
    """

    kind: ClassVar[str] = "gradient_reset_gate"

    z_score: float = setting(6.0, above=0)
    """Standard deviations above the running mean that make a spike. ZClip clips at 2.5; a reset loses more."""
    alpha: float = setting(0.97, above=0, below=1)
    """Weight of the past in the running mean and variance, once there is enough; until then all steps count alike."""
    warmup: int = setting(25, least=1)
    """Steps that only measure: fewer give a mean that means nothing. A norm that is not finite is reset even then."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays. `probe` has no effect: its gradient is how the norm comes out."""
        numbers = {name: Param(shape=(), trainable=False) for name in ("mean", "variance", "count", "resets")}
        return at.node(self, shape, shape, parameters={"probe": Param(shape=()), **numbers})

"""Mixtures of experts: many feed-forward networks, of which each token takes a few."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class MixtureOfExperts(Block):
    """The sum of the `top_k` likeliest experts' outputs, weighted: [time, features] to the same (arXiv 2401.04088).

    A router gives each token a probability for each expert; those of the chosen ones are scaled to a sum of 1. An
    expert is down(up(x) * silu(gate(x))). Every token gets its experts, however many others choose the same.
    """

    kind: ClassVar[str] = "mixture_of_experts"

    experts: int = setting(least=2)
    """How many there are."""
    top_k: int = setting(2, least=1)
    """How many a token takes."""
    feed_forward: int = setting(least=1)
    """Features inside an expert."""
    value: str = ""
    """The router's scores are kept under this name, for a loss that balances the load: [time, experts]; those of
    further layers with the same name stand beside them. Empty: they are not kept."""
    init_std: float = setting(0.02, above=0)
    """Standard deviation of the first weights."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        time, wide = sequence(self, shape, at)
        if self.top_k > self.experts:
            raise at.inside("top_k").fault(f"got {self.top_k} of {self.experts} experts; choose no more than there are")
        if self.value:
            before = at.values.get(self.value, (time, 0))[1] or 0
            at.values[self.value] = (time, before + self.experts)
        router = Linear(out_features=self.experts, bias=False, init_std=self.init_std)
        init = Init("normal", self.init_std)
        inward = Param(shape=(self.experts, self.feed_forward, wide), init=init)
        outward = Param(shape=(self.experts, wide, self.feed_forward), init=init)
        return at.node(
            self,
            shape,
            shape,
            children={"router": at.child("router", router, shape)},
            parameters={"gate": inward, "up": inward, "down": outward},
            multiply_adds=3 * times(time, self.top_k, self.feed_forward, wide),
        )

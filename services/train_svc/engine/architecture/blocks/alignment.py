"""Attention that knows where it looked before: it moves along its memory, as speech moves along a text."""

from dataclasses import dataclass
from math import exp, lgamma
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.convolution import Conv1d
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Node, Place, Shape, State, times
from services.train_svc.engine.reading import setting

TANH_GAIN = 5 / 3
"""Widens first weights before a tanh, as torch's `calculate_gain` has it."""


@dataclass(frozen=True, kw_only=True)
class Alignment(Block):
    """softmax(energies) times memory: queries [time, features] to contexts [time, features of the memory].

    The energies of a frame depend on the weights of the frames before it, so that time runs frame by frame.
    """

    memory: str = setting()
    """The named value to look at, such as an encoder's output."""
    weights: str = setting()
    """The name under which the weights are kept: [time, time of the memory]."""
    features: int = setting(128, least=1)
    """Size of the vectors whose sum passes the tanh."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; each frame gets as many features as the memory has."""
        time, _ = sequence(self, shape, at)
        memory = at.value(self.memory)
        length, wide = sequence(self, memory, at.inside("memory"))
        at.values[self.weights] = (time, length)
        cost = times(time, length, wide)
        return at.node(
            self,
            shape,
            (time, wide),
            children=self.parts(shape, memory, at),
            states=self.states(wide),
            multiply_adds=cost,
        )

    def parts(self, query: Shape, memory: Shape, at: Place) -> dict[str, Node]:
        """Return the nodes within."""
        raise NotImplementedError(type(self).__name__)

    def states(self, wide: int) -> dict[str, State]:
        """Return what is carried: the memory's parts, and the weights of the frame before."""
        raise NotImplementedError(type(self).__name__)

    def into(self, name: str, shape: Shape, at: Place, *, bias: bool = False) -> Node:
        """Return the node of a linear layer to the vectors that are added."""
        return at.child(name, Linear(out_features=self.features, bias=bias, init_gain=TANH_GAIN), shape)


@dataclass(frozen=True, kw_only=True)
class LocationSensitiveAttention(Alignment):
    """Energies v tanh(query + key + location), location by the last and all weights (arXiv 1506.07503, 1712.05884)."""

    kind: ClassVar[str] = "location_sensitive_attention"

    filters: int = setting(32, least=1)
    """Of the convolution over the weights."""
    kernel_size: int = setting(31, least=1)
    """Of that convolution, odd: frames of the memory."""

    def parts(self, query: Shape, memory: Shape, at: Place) -> dict[str, Node]:
        """Return the nodes within."""
        if self.kernel_size % 2 == 0:
            raise at.inside("kernel_size").fault(f"got {self.kernel_size}, wanted an odd number")
        filters = Conv1d(out_features=self.filters, kernel_size=self.kernel_size, bias=False, init_gain=1.0)
        return {
            "query": self.into("query", query, at),
            "key": self.into("key", memory, at),
            "location": at.child("location", filters, (memory[0], 2)),
            "spread": self.into("spread", (memory[0], self.filters), at),
            "score": at.child("score", Linear(out_features=1, bias=False, init_gain=1.0), (memory[0], self.features)),
        }

    def states(self, wide: int) -> dict[str, State]:
        """Return keys and memory, the last weights, and the sum of all weights."""
        return {
            "memory_key": State(shape=(None, self.features), constant=True),
            "memory_value": State(shape=(None, wide), constant=True),
            "weights": State(shape=(None,)),
            "total": State(shape=(None,)),
        }


@dataclass(frozen=True, kw_only=True)
class DynamicConvolutionAttention(Alignment):
    """Energies v tanh(U (F * a) + T (G(query) * a) + b) + log max(P * a, 1e-6), a the last weights (arXiv 1910.10288).

    It knows nothing of what the memory holds, only of how far it went, so that long texts stay in order.
    """

    kind: ClassVar[str] = "dynamic_convolution_attention"

    filters: int = setting(8, least=1)
    """Learned filters F, and as many filters G that a network makes of the query."""
    kernel_size: int = setting(21, least=1)
    """Of both, odd: frames of the memory."""
    prior_length: int = setting(11, least=2)
    """Of the fixed filter P, a beta-binomial distribution of how far one frame goes: 0 to prior_length - 1."""
    prior_alpha: float = setting(0.1, above=0)
    """Of that distribution, whose mean is (prior_length - 1) alpha / (alpha + beta)."""
    prior_beta: float = setting(0.9, above=0)
    """Of that distribution."""

    @property
    def prior(self) -> tuple[float, ...]:
        """P: the probability of going 0, 1, ... frames of the memory further."""
        most, alpha, beta = self.prior_length - 1, self.prior_alpha, self.prior_beta

        def log_beta(a: float, b: float) -> float:
            return lgamma(a) + lgamma(b) - lgamma(a + b)

        def log_choose(k: int) -> float:
            return lgamma(most + 1) - lgamma(k + 1) - lgamma(most - k + 1)

        scale = log_beta(alpha, beta)
        return tuple(exp(log_choose(k) + log_beta(k + alpha, most - k + beta) - scale) for k in range(most + 1))

    def parts(self, query: Shape, memory: Shape, at: Place) -> dict[str, Node]:
        """Return the nodes within."""
        if self.kernel_size % 2 == 0:
            raise at.inside("kernel_size").fault(f"got {self.kernel_size}, wanted an odd number")
        length, taps = memory[0], self.filters * self.kernel_size
        static = Linear(out_features=self.filters, bias=False)
        made = Linear(out_features=taps, bias=False)
        return {
            "query": self.into("query", query, at, bias=True),
            "dynamic": at.child("dynamic", made, (query[0], self.features)),
            "static": at.child("static", static, (length, self.kernel_size)),
            "spread_static": self.into("spread_static", (length, self.filters), at),
            "spread_dynamic": self.into("spread_dynamic", (length, self.filters), at, bias=True),
            "score": at.child("score", Linear(out_features=1, bias=False, init_gain=1.0), (length, self.features)),
        }

    def states(self, wide: int) -> dict[str, State]:
        """Return the memory and the last weights."""
        return {"memory_value": State(shape=(None, wide), constant=True), "weights": State(shape=(None,))}

"""Gradients kept from leaping, on torch. Nothing waits for the device, and a CUDA graph may hold all of it."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from services.train_svc.engine.on_torch.linear import TiedProjection
from services.train_svc.engine.slots import check_memory
from services.train_svc.engine.spec import ClipSpec

Flat = dict[str, torch.Tensor]
SMALLEST_WEIGHT = 1e-3
"""Weights' norm below which AGC takes a unit for one of this norm."""


class Clipper:
    """Measures the gradients, and scales all of them by one factor where their norm is over a limit.

    A gradient that is not finite stays as it is, so that others do not become nan with it, and no history remembers it.
    This one has no limit.

    Args:
        spec: which rule, and its settings.
        model: on its device.
    """

    def __init__(self, spec: ClipSpec, model: nn.Module) -> None:
        self.spec = spec
        self.device = next(model.parameters()).device
        self.state: Flat = {}

    @torch.no_grad()
    def clip(self, parameters: Iterable[nn.Parameter]) -> torch.Tensor:
        """Clip the gradients of `parameters` in place, and return their norm before it, float32 [] on the device."""
        given = [parameter for parameter in parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in given if parameter.grad is not None]
        if not gradients:
            return torch.zeros((), device=self.device)
        norm: torch.Tensor = torch.linalg.vector_norm(
            torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32))
        )
        self.bound(given, gradients, norm)
        return norm

    def bound(self, parameters: list[nn.Parameter], gradients: list[torch.Tensor], norm: torch.Tensor) -> None:
        """Scale the gradients, whose common norm is `norm`, in place."""
        limit = self.limit(norm)
        if limit is not None:
            over = torch.isfinite(norm) & (norm > limit)
            torch._foreach_mul_(gradients, torch.where(over, limit / norm, 1.0))

    def limit(self, norm: torch.Tensor) -> torch.Tensor | None:
        """Return the largest norm allowed, after taking note of this one; None: any."""
        return None

    def tensors(self) -> Flat:
        """Return what it remembers, by names that are the same on both engines."""
        return dict(self.state)

    def fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `tensors` gave, on this engine or the other; of none, begin as if new.

        Raises:
            InvalidError: it is of another rule or another length of history.
        """
        if tensors:
            given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            check_memory({name: tuple(own.shape) for name, own in self.state.items()}, given, "clip")
        for name, own in self.state.items():
            own.copy_(tensors[name]) if tensors else own.zero_()

    def _remember(self, fine: torch.Tensor, **values: torch.Tensor) -> None:
        for name, value in values.items():
            self.state[name].copy_(torch.where(fine, value, self.state[name]))


class NormClipper(Clipper):
    """To a largest norm (Pascanu et al. 2013, arXiv 1211.5063)."""

    def limit(self, norm: torch.Tensor) -> torch.Tensor:
        """Return `max_norm`."""
        return torch.full_like(norm, self.spec.max_norm)


class AutoClipper(Clipper):
    """To a percentile of the last norms, this one among them (Seetharaman et al. 2020, arXiv 2007.14469).

    The percentile is interpolated between the two nearest norms, as NumPy does. The paper remembers all norms, this one
    `history` of them.
    """

    def __init__(self, spec: ClipSpec, model: nn.Module) -> None:
        super().__init__(spec, model)
        self.state = {
            "history": torch.zeros(spec.history, device=self.device),
            "count": torch.zeros((), dtype=torch.int64, device=self.device),
        }

    def limit(self, norm: torch.Tensor) -> torch.Tensor:
        """Return the percentile."""
        history, fine = self.state["history"], torch.isfinite(norm)
        slots = torch.arange(len(history), device=self.device)
        here = slots == self.state["count"] % len(history)
        self._remember(fine, history=torch.where(here, norm, history), count=self.state["count"] + 1)
        filled = self.state["count"].clamp(max=len(history))
        ordered = torch.where(slots < filled, history, torch.inf).sort().values
        place = (filled - 1).clamp(min=0).double() * (self.spec.percentile / 100)
        low = place.floor().long()
        # No further than the last norm: behind it is infinity.
        high = torch.minimum(low + 1, (filled - 1).clamp(min=0))
        # Not by brackets, which would read the place on the host.
        below, above = ordered.take(low), ordered.take(high)
        return torch.where(high > low, below + (place - low).float() * (above - below), below)


class ZClipper(Clipper):
    """By the z-score of the norm (Kumar et al. 2025, arXiv 2504.02507), in the paper's reciprocal form.

    Mean and variance of the first `warmup` norms begin the moving ones. From then on z = (norm - mean) / deviation; a
    norm of z > z* is clipped to mean + (z* z* / z) deviation, the lower the further it leapt. The clipped norm then
    moves the mean to alpha mean + (1 - alpha) norm, and the variance alike by the squared distance from the new mean.
    While the variance is zero nothing is clipped, or the norm could never rise again.
    """

    def __init__(self, spec: ClipSpec, model: nn.Module) -> None:
        super().__init__(spec, model)
        self.state = {name: torch.zeros((), device=self.device) for name in ("mean", "variance")}
        self.state["count"] = torch.zeros((), dtype=torch.int64, device=self.device)

    def limit(self, norm: torch.Tensor) -> torch.Tensor:
        """Return the norm to which a spike is clipped, and infinity where this is none."""
        mean, variance, count = self.state["mean"], self.state["variance"], self.state["count"]
        warm, away, target = count < self.spec.warmup, norm - mean, self.spec.z_score
        spike = ~warm & (variance > 0) & (away > target * variance.sqrt())
        limit = torch.where(spike, mean + target**2 * variance / away, torch.inf)
        kept = torch.minimum(norm, limit)
        # While warming up the weights are those of plain means.
        past = torch.where(warm, count / (count + 1), self.spec.alpha)
        middle = past * mean + (1 - past) * kept
        distance = torch.where(warm, (kept - mean) * (kept - middle), (kept - middle).square())
        spread = past * variance + (1 - past) * distance
        self._remember(torch.isfinite(norm), mean=middle, variance=spread, count=count + 1)
        return limit


class UnitClipper(Clipper):
    """AGC: unit by unit, to `ratio` of the weights' norm (Brock et al. 2021, arXiv 2102.06171, equation 3).

    A unit is what makes one output: a row of a matrix, a channel of a kernel; a vector is one. Weights of a norm under
    1e-3 count as 1e-3. The last linear layer is left alone, its matrix too where it is an embedding's.
    """

    def __init__(self, spec: ClipSpec, model: nn.Module) -> None:
        super().__init__(spec, model)
        self._free = _last_linear(model)

    def bound(self, parameters: list[nn.Parameter], gradients: list[torch.Tensor], norm: torch.Tensor) -> None:
        """Scale the gradient of each unit in place."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if id(parameter) not in self._free:
                limit = self.spec.ratio * _unit_norms(parameter).clamp(min=SMALLEST_WEIGHT)
                found = _unit_norms(gradient)
                over = torch.isfinite(found) & (found > limit)
                gradient.mul_(torch.where(over, limit / found, 1.0))


def _unit_norms(x: torch.Tensor) -> torch.Tensor:
    axes = None if x.squeeze().ndim <= 1 else tuple(range(1, x.ndim))
    norms: torch.Tensor = torch.linalg.vector_norm(x.float(), dim=axes, keepdim=axes is not None)
    return norms


def _last_linear(model: nn.Module) -> set[int]:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | TiedProjection)]
    if not layers:
        return set()
    last = layers[-1]
    own = {id(parameter) for parameter in last.parameters()}
    return own | ({id(last.matrix)} if isinstance(last, TiedProjection) else set())


RULES: dict[str, type[Clipper]] = {
    "none": Clipper,
    "norm": NormClipper,
    "autoclip": AutoClipper,
    "zclip": ZClipper,
    "agc": UnitClipper,
}


def build_clipper(spec: ClipSpec, model: nn.Module) -> Clipper:
    """Return what clips the gradients of a model as the spec says.

    Args:
        spec: which rule, and its settings.
        model: any module, on its device.
    """
    return RULES[spec.name](spec, model)

"""Whole passes of a model over the same batches: in float32, and under torch's autocast."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.on_torch.precision.flows import context_in, made
from services.train_svc.engine.on_torch.precision.scouting import Scout
from services.train_svc.engine.on_torch.precision.watching import Watch
from services.train_svc.engine.precision import Difference
from services.train_svc.engine.reading import fault

Step = Callable[[], torch.Tensor]
"""Computes the mean loss of one batch in float32, the same batch each time; it calls the model as it is, uncompiled."""


class Whole:
    """Loss and gradients of whole passes."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        """By which the loss was multiplied."""
        self.loss = 0.0
        self.gradients: list[torch.Tensor] = []
        self.peaks: list[Peaks] = []
        """Of each batch."""

    @property
    def peak(self) -> float:
        """The largest gradient of a parameter; not finite if one is not."""
        largest = [float(gradient.abs().max()) for gradient in self.gradients if gradient.numel()]
        return math.nan if any(map(math.isnan, largest)) else max(largest, default=0.0)


class Passes:
    """Passes over the same batches, each from the same buffers and random numbers."""

    def __init__(self, model: nn.Module, steps: Sequence[Step]) -> None:
        self._model, self._steps = model, steps
        self._buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        self._device = next(model.parameters()).device

    def scout(self, step: Step, dtype: torch.dtype) -> Scout:
        """Return what the modules do in a forward pass under autocast."""
        self._begin()
        scout = Scout()
        with torch.no_grad(), torch.autocast(self._device.type, dtype), scout.watch(self._model):
            step()
        return scout

    def watched(self, step: Step, watch: Watch) -> None:
        """Make a float32 pass in which the operators are measured."""
        self._begin()
        with watch.watch(self._model):
            torch.autograd.backward(step())
        self._end()

    def run(self, dtype: torch.dtype | None = None, scale: float = 1.0, names: Sequence[str] = ()) -> Whole:
        """Return loss and gradients of all batches; in float32, or under autocast.

        Args:
            dtype: autocast's; None: float32, where all must be finite.
            scale: of the loss.
            names: modules whose gradients are watched.
        """
        whole = Whole(scale)
        self._begin()
        for step in self._steps:
            whole.peaks.append(Peaks(names))
            with whole.peaks[-1].watch(self._model):
                with torch.autocast(self._device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                    loss = step().float() / len(self._steps)
                if not loss.requires_grad:
                    raise fault("model", "no weight gets a gradient from the loss; is the model frozen?")
                torch.autograd.backward(loss * scale)
            whole.loss += loss.item()
        given = [parameter.grad for parameter in self._model.parameters() if parameter.grad is not None]
        whole.gradients = [gradient.float() / scale for gradient in given]
        self._end()
        if dtype is None and not (math.isfinite(whole.loss) and math.isfinite(whole.peak)):
            raise fault("model", "loss or gradients are not finite in float32 already; no precision helps there")
        return whole

    def settled(self, dtype: torch.dtype, scale: float) -> Whole:
        """Return a pass under autocast at a scale at which it does not overflow, halved as training halves it."""
        whole = self.run(dtype, scale)
        while scale > 1 and math.isfinite(whole.loss) and not math.isfinite(whole.peak):
            scale /= 2
            whole = self.run(dtype, scale)
        return whole

    def _begin(self) -> None:
        torch.manual_seed(0)
        self._model.zero_grad(set_to_none=True)

    def _end(self) -> None:
        self._model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in self._model.named_buffers():
                buffer.copy_(self._buffers[name])


def difference(exact: Whole, found: Whole) -> Difference:
    """Return how far a pass is from the float32 one."""
    wrong = sum(
        float((one - other).double().square().sum())
        for one, other in zip(exact.gradients, found.gradients, strict=True)
    )
    size = sum(float(one.double().square().sum()) for one in exact.gradients)
    loss = abs(found.loss - exact.loss) / (abs(exact.loss) or 1.0)
    gradient = (wrong / (size or 1.0)) ** 0.5
    return Difference(
        loss=loss if math.isfinite(loss) else None, gradient=gradient if math.isfinite(gradient) else None
    )


class Peaks:
    """Which run of each module has the largest gradient, in one pass."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._runs: dict[str, int] = dict.fromkeys(names, 0)
        self._largest: dict[str, tuple[float, int]] = {}

    @property
    def runs(self) -> dict[str, int]:
        """The run by the module's name."""
        return {name: run for name, (_, run) in self._largest.items()}

    @property
    def largest(self) -> dict[str, float]:
        """The largest gradient by the module's name."""
        return {name: size for name, (size, _) in self._largest.items()}

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Watch the pass that is made within."""
        handles = [model.get_submodule(name).register_forward_hook(self._after(name)) for name in self._names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _after(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: Any, output: Any) -> None:  # noqa: ANN401 - whatever a module takes and gives
            run, context = self._runs[name], context_in(args)
            self._runs[name] += 1
            for tensor in made(module, output, context, context.values if context is not None else {}):
                if tensor.requires_grad:
                    tensor.register_hook(  # type: ignore[no-untyped-call]  # torch's
                        lambda gradient: self._see(name, run, gradient)
                    )

        return note

    def _see(self, name: str, run: int, gradient: torch.Tensor) -> None:
        largest = float(gradient.abs().max()) if gradient.numel() else 0.0
        if largest > self._largest.get(name, (-1.0, 0))[0]:
            self._largest[name] = largest, run

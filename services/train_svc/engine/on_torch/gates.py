"""The gradient reset gate on torch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.architecture.blocks.gates import GradientResetGate
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds


class Watched(torch.autograd.Function):
    """x forward; backward the gradient or zeros, and its norm as the gradient of a probe.

    The norm leaves through the probe since a compiled backward pass may not write to buffers.
    """

    @staticmethod
    def forward(x: torch.Tensor, _probe: torch.Tensor, _limit: torch.Tensor) -> torch.Tensor:
        """Return `x`."""
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:  # noqa: ANN401
        """Keep the limit for the backward pass."""
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:  # noqa: ANN401
        """Return the gradient of `x`, the norm, and nothing for the limit."""
        (limit,) = ctx.saved_tensors
        norm = torch.linalg.vector_norm(gradient.float())
        return torch.where(norm <= limit, gradient, 0.0), norm, None


@builds(GradientResetGate)
class Gate(TorchBlock):
    """An identity."""

    probe: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor
    count: torch.Tensor
    resets: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return `x`."""
        if not self.training:
            return x
        passed: torch.Tensor = Watched.apply(x, self.probe, self.limit())  # type: ignore[no-untyped-call]  # torch's own
        return passed

    def limit(self) -> torch.Tensor:
        """Return the largest norm that is no spike; while warming up, the largest number."""
        known = self.mean + self.block.z_score * self.variance.sqrt()
        return torch.where(self.count < self.block.warmup, torch.finfo(known.dtype).max, known)

    @torch.no_grad()
    def settle(self) -> torch.Tensor:
        """Take in the norm of the last backward pass, and return 1.0 where it was a spike, else 0.0."""
        norm = self.probe.grad
        assert norm is not None
        fine = norm <= self.limit()
        alpha = torch.clamp(self.count / (self.count + 1), max=self.block.alpha)
        away = norm - self.mean
        self.mean.copy_(torch.where(fine, alpha * self.mean + (1 - alpha) * norm, self.mean))
        spread = alpha * (self.variance + (1 - alpha) * away.square())
        self.variance.copy_(torch.where(fine, spread, self.variance))
        self.count.add_(fine.to(self.count.dtype))
        self.resets.add_((~fine).to(self.resets.dtype))
        self.probe.grad = None
        return (~fine).float()


def has_gates(model: nn.Module) -> bool:
    """Return whether a model holds any."""
    return any(isinstance(module, Gate) for module in model.modules())


def settle_gates(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Let every gate take in its gradient's norm, and zero the moments behind those that saw a spike.

    Call it after the backward pass and before clipping and the optimizer's step. Nothing waits for the device.
    """
    for name, module in model.named_modules():
        if isinstance(module, Gate) and module.probe.grad is not None:
            kept = 1 - module.settle()
            for parameter in parameters_behind(model, name):
                for slot, value in optimizer.state.get(parameter, {}).items():
                    if slot != "step" and isinstance(value, torch.Tensor):
                        # Not by a product: what is not finite times zero stays so.
                        value.copy_(torch.where(kept > 0, value, 0.0))


def parameters_behind(model: nn.Module, gate: str) -> Iterator[nn.Parameter]:
    """Yield the parameters of the blocks before the gate in its list."""
    parent, _, last = gate.rpartition(".")
    for name, block in model.get_submodule(parent).named_children():
        if name == last:
            return
        yield from block.parameters()

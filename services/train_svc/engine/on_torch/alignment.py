"""The blocks of `architecture.blocks.alignment` on torch."""

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.alignment import (
    DynamicConvolutionAttention,
    LocationSensitiveAttention,
)
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds, key_mask, run
from services.train_svc.engine.on_torch.emformer import windows
from services.train_svc.engine.on_torch.recurrent import Moved, Tensors, frame_by_frame


class Aligned(TorchBlock):
    """[batch, time, features] to contexts [batch, time, features of the memory], frame by frame."""

    query: nn.Module
    score: nn.Module
    past: tuple[str, ...]
    """What is carried: the last weights, and the sum of all where that counts."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the contexts, and keep the weights [batch, time, time of the memory]."""
        *keys, value = self._memory(context)
        real = self._real(value, context)

        def move(past: Tensors, query: torch.Tensor) -> Moved:
            energies = self.energies(query[:, None], keys, past)
            if real is not None:
                energies = energies.masked_fill(~real, torch.finfo(energies.dtype).min)
            weights = energies.softmax(-1)
            return [weights, past[-1] + weights][: len(past)], [weights]

        past, (alignment,) = frame_by_frame(move, self._past(value, context), self.query(x))
        if context.state is not None:
            for name, tensor in zip(self.past, past, strict=True):
                self.carry(context, name, tensor)
        context.keep(self.block.weights, alignment)
        return alignment @ value

    def energies(self, query: torch.Tensor, keys: Tensors, past: Tensors) -> torch.Tensor:
        """Return [batch, time of the memory] for one frame's query [batch, 1, features]."""
        raise NotImplementedError(type(self).__name__)

    def project(self, memory: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the block makes of its memory, and the memory."""
        raise NotImplementedError(type(self).__name__)

    def begun(self, context: Context) -> dict[str, torch.Tensor]:
        """Return the weights of no frame: zeros."""
        past = self._past(self._memory(context)[-1], context)
        return {f"{self.path}.{name}": tensor for name, tensor in zip(self.past, past, strict=True)}

    def _memory(self, context: Context) -> tuple[torch.Tensor, ...]:
        if context.state is None:
            return self.project(context.values[self.block.memory])
        names = ("memory_key", "memory_value")
        return tuple(self.carried(context, name) for name in names if f"{self.path}.{name}" in context.state)

    def _past(self, memory: torch.Tensor, context: Context) -> Tensors:
        if context.state is None:
            return [memory.new_zeros(memory.shape[:2]) for _ in self.past]
        kept = [self.carried(context, name) for name in self.past]
        return [functional.pad(each, (0, memory.shape[1] - each.shape[1])) for each in kept]

    def _real(self, memory: torch.Tensor, context: Context) -> torch.Tensor | None:
        inner = Context({})
        inner.lengths, inner.mask = context.padding.get(self.block.memory, (None, None))
        return key_mask(inner, memory.shape[1], memory.device)


@builds(LocationSensitiveAttention)
class LocationSensitive(Aligned):
    """Sees the last weights and the sum of all."""

    key: nn.Module
    location: nn.Module
    spread: nn.Module
    past = ("weights", "total")

    def energies(self, query: torch.Tensor, keys: Tensors, past: Tensors) -> torch.Tensor:
        """Return v tanh(query + key + location)."""
        location = self.spread(run(self.location, torch.stack(past, -1), Context({})))
        result: torch.Tensor = self.score(torch.tanh(query + keys[0] + location))
        return result.squeeze(-1)

    def project(self, memory: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return keys [batch, time, features], and the memory."""
        return self.key(memory), memory


@builds(DynamicConvolutionAttention)
class DynamicConvolution(Aligned):
    """Sees the last weights alone."""

    dynamic: nn.Module
    static: nn.Module
    spread_static: nn.Module
    spread_dynamic: nn.Module
    past = ("weights",)

    def energies(self, query: torch.Tensor, keys: Tensors, past: Tensors) -> torch.Tensor:
        """Return v tanh(U (F * a) + T (G(query) * a) + b) + log(P * a)."""
        block = self.block
        before, half = self._started(past[0]), block.kernel_size // 2
        near = _windows(before, half, half)
        filters = self.dynamic(torch.tanh(query)).unflatten(-1, (block.filters, block.kernel_size))[:, 0]
        moved = self.spread_static(self.static(near)) + self.spread_dynamic(near @ filters.transpose(1, 2))
        energies: torch.Tensor = self.score(torch.tanh(moved)).squeeze(-1) + self._reached(before).clamp(min=1e-6).log()
        return energies

    def project(self, memory: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the memory."""
        return (memory,)

    def _reached(self, before: torch.Tensor) -> torch.Tensor:
        # P * a, number by number: a scan in a graph holds no table.
        most, size = self.block.prior_length - 1, before.shape[1]
        behind = functional.pad(before, (most, 0))
        steps = (chance * behind[:, most - step : most - step + size] for step, chance in enumerate(self.block.prior))
        return torch.stack(tuple(steps)).sum(0)

    def _started(self, weights: torch.Tensor) -> torch.Tensor:
        # Before the first frame all of it lies on the start of the memory.
        start = (torch.arange(weights.shape[1], device=weights.device) == 0).to(weights.dtype)
        return torch.where(weights.sum(1, keepdim=True) > 0, weights, start)


def _windows(x: torch.Tensor, left: int, right: int) -> torch.Tensor:
    # [batch, time] to [batch, time, left + 1 + right]: each place and those around it.
    return functional.pad(x, (left, right))[:, windows(x.shape[1], 1, left + 1 + right, x.device)]

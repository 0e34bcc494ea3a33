"""The blocks of `architecture.blocks.experts` on torch."""

import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.experts import MixtureOfExperts
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds

Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@builds(MixtureOfExperts)
class Experts(TorchBlock):
    """[batch, time, features] to the same."""

    router: nn.Module
    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the chosen experts' weighted sum."""
        scores = self.router(x)
        if self.block.value:
            before = context.values.get(self.block.value)
            context.keep(self.block.value, scores if before is None else torch.cat((before, scores), -1))
        shares, chosen = scores.flatten(0, 1).softmax(-1, dtype=torch.float32).topk(self.block.top_k)
        shares = shares / shares.sum(-1, keepdim=True)
        tokens, mix = x.flatten(0, 1), grouped if _groups(x) else dense
        return mix(tokens, shares, chosen, (self.gate, self.up, self.down)).view_as(x)


def _groups(x: torch.Tensor) -> bool:
    # Products of groups have a kernel for this type there alone, and none in ONNX.
    half = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
    known = hasattr(functional, "grouped_mm") and not torch.compiler.is_exporting()
    return known and x.is_cuda and half == torch.bfloat16


def grouped(x: torch.Tensor, shares: torch.Tensor, chosen: torch.Tensor, weights: Weights) -> torch.Tensor:
    """Return the mixture [tokens, features]; each expert computes its own tokens, sorted by expert, alone.

    Args:
        x: [tokens, features].
        shares: [tokens, top_k], the weights of the chosen experts.
        chosen: [tokens, top_k], which they are.
        weights: gate and up, [experts, feed_forward, features], and down, [experts, features, feed_forward].
    """
    gate, up, down = weights
    experts, order = chosen.flatten().sort()
    ends = torch.searchsorted(experts, torch.arange(gate.shape[0], device=x.device), right=True, out_int32=True)

    def product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        weight = weight.to(torch.get_autocast_dtype("cuda")) if torch.is_autocast_enabled("cuda") else weight
        return functional.grouped_mm(rows.to(weight.dtype), weight.mT, offs=ends)

    rows = x.index_select(0, order // chosen.shape[1])
    rows = product(functional.silu(product(rows, gate)) * product(rows, up), down)
    mine = rows.index_select(0, order.argsort()).view(*chosen.shape, -1)
    return torch.einsum("tkd,tk->td", mine, shares.to(mine.dtype)).to(x.dtype)


def dense(x: torch.Tensor, shares: torch.Tensor, chosen: torch.Tensor, weights: Weights) -> torch.Tensor:
    """Return the same as `grouped`; every expert computes every token, and the others' share is 0."""
    gate, up, down = weights
    all_shares = torch.zeros(x.shape[0], gate.shape[0], device=x.device).scatter(1, chosen, shares)
    inner = functional.silu(x @ gate.mT) * (x @ up.mT)
    return torch.einsum("etd,te->td", inner @ down.mT, all_shares.to(x.dtype))

"""What the torch side of a block is, and how a resolved tree becomes modules."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.node import Node, Param
from services.train_svc.engine.context import Context

Maker = Callable[[Node, "Builder"], nn.Module]
MAKERS: dict[type[Block], Maker] = {}
"""What builds each kind of block."""
M = TypeVar("M", bound=Maker)


def builds(*kinds: type[Block]) -> Callable[[M], M]:
    """Register a `TorchBlock`, or a function of a node and the builder, as what builds these kinds."""

    def register(maker: M) -> M:
        MAKERS.update(dict.fromkeys(kinds, maker))
        return maker

    return register


class TorchBlock(nn.Module):
    """A block that needs the context; one that does not may be any module of torch's.

    Children of the node are modules and its parameters are parameters or buffers, all by their own names.
    """

    def __init__(self, node: Node, builder: "Builder") -> None:
        super().__init__()
        self.block: Any = node.block
        self.path = node.name
        for name, child in node.children.items():
            self.add_module(name, builder.build(child))
        for name, param in node.parameters.items():
            self._own(name, param)

    def _own(self, name: str, param: Param) -> None:
        tensor = torch.empty(param.shape, dtype=getattr(torch, param.dtype))
        if param.trainable:
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return what the block makes of `x`."""
        raise NotImplementedError(type(self).__name__)

    def begun(self, context: Context) -> dict[str, torch.Tensor]:
        """Return those carried tensors, by full name, that begin empty, in the size that they have from then on."""
        return {}

    def carried(self, context: Context, state: str) -> torch.Tensor:
        """Return the tensor that the step before left."""
        assert context.state is not None
        tensor: torch.Tensor = context.state[f"{self.path}.{state}"]
        return tensor

    def carry(self, context: Context, state: str, tensor: torch.Tensor) -> None:
        """Leave a tensor for the next step."""
        context.new_state[f"{self.path}.{state}"] = tensor


def run(module: nn.Module, x: torch.Tensor, context: Context) -> torch.Tensor:
    """Return what a child makes of `x`, with the context where it needs it."""
    result: torch.Tensor = module(x, context) if isinstance(module, TorchBlock) else module(x)
    return result


def key_mask(context: Context, time: int, device: torch.device) -> torch.Tensor | None:
    """Return [batch, time], true where what flows is real, or None where all is."""
    if context.lengths is not None:
        real: torch.Tensor = torch.arange(time, device=device) < context.lengths[:, None]
        return real
    mask: torch.Tensor | None = None if context.mask is None else context.mask.bool()
    return mask


class Builder:
    """Makes the modules of one model."""

    def __init__(self) -> None:
        self.modules: dict[str, nn.Module] = {}
        """Those made so far, by name; for blocks that share another's matrix."""
        self.owners: list[tuple[nn.Module, Node]] = []
        """Modules with parameters of their own."""

    def build(self, node: Node) -> nn.Module:
        """Return the module of a node."""
        module = MAKERS[type(node.block)](node, self)
        self.modules[node.name] = module
        if node.parameters:
            self.owners.append((module, node))
        return module

    def initialize(self) -> None:
        """Give every parameter its first value, from torch's generator."""
        with torch.no_grad():
            for module, node in self.owners:
                for name, param in node.parameters.items():
                    _begin(getattr(module, name), param)


def _begin(tensor: torch.Tensor, param: Param) -> None:
    value = param.init.value
    if param.init.table is not None:
        tensor.copy_(torch.from_numpy(param.init.table(param.shape)))
    elif param.init.kind == "constant":
        tensor.fill_(value)
    elif param.init.kind == "normal":
        tensor.normal_(0.0, value)
    elif param.init.kind == "uniform":
        tensor.uniform_(-value, value)
    else:
        nn.init.trunc_normal_(tensor, std=value, a=-2 * value, b=2 * value)

"""The blocks of `architecture.blocks.recurrent` on torch."""

from collections.abc import Callable

import torch
from torch import nn
from torch._higher_order_ops.scan import scan
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.recurrent import GATES, Feedback, Lstm, ShiftRight
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import Builder, TorchBlock, builds, key_mask, run
from services.train_svc.engine.stepping import constants, states_of

Pair = tuple[torch.Tensor, torch.Tensor]
Tensors = list[torch.Tensor]
Moved = tuple[Tensors, Tensors]
"""The state after a frame, and what is made of it. It has a name as torch.compile reads no subscript in a function."""
Move = Callable[[Tensors, torch.Tensor], Moved]
"""The state and a frame [batch, features] to the state after it and what is made of it."""


@builds(Lstm)
class Recurrence(TorchBlock):
    """[batch, time, features] to [batch, time, hidden_size], through torch's fused kernels."""

    weight_ih_l0: torch.Tensor
    weight_hh_l0: torch.Tensor
    gate_norm: nn.Module
    cell_norm: nn.Module

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the hidden vectors."""
        if self.block.bidirectional:
            zeros = self._zeros(x)
            backward = reverse(self._read(reverse(x, context), zeros, "_reverse")[0], context)
            return torch.cat((self._read(x, zeros)[0], backward), -1)
        if context.state is None:
            return self._read(x, self._zeros(x))[0]
        output, (hidden, cell) = self._read(x, (self.carried(context, "hidden"), self.carried(context, "cell")))
        self.carry(context, "hidden", hidden)
        self.carry(context, "cell", cell)
        return output

    def _zeros(self, x: torch.Tensor) -> Pair:
        zeros = x.new_zeros(x.shape[0], self.block.hidden_size)
        return zeros, zeros

    def _read(self, x: torch.Tensor, start: Pair, suffix: str = "") -> tuple[torch.Tensor, Pair]:
        # The outputs, and hidden vector and cell after the last frame.
        if self.block.norm_eps:
            return self._read_normalised(x, *start)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights: list[torch.Tensor] = [getattr(self, name + suffix) for name in names]
        if statically_known_true(x.shape[1] == 1):
            hidden, cell = torch.lstm_cell(x[:, 0], start, *weights)
            return hidden[:, None], (hidden, cell)
        if torch.onnx.is_in_onnx_export():
            return onnx_lstm(x, start, weights)
        first = [each[None] for each in start]
        output, hidden, cell = torch.lstm(x, first, weights, True, 1, 0.0, self.training, False, True)
        return output, (hidden[0], cell[0])

    def _read_normalised(self, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, Pair]:
        def move(state: Tensors, frame: torch.Tensor) -> Moved:
            hidden, cell = state
            gates = self.gate_norm(frame + hidden @ self.weight_hh_l0.T)
            enter, forget, new, leave = gates.chunk(GATES, -1)
            cell = self.cell_norm(forget.sigmoid() * cell + enter.sigmoid() * new.tanh())
            hidden = leave.sigmoid() * cell.tanh()
            return [hidden, cell], [hidden]

        (hidden, cell), (output,) = frame_by_frame(move, [hidden, cell], x @ self.weight_ih_l0.T)
        return output, (hidden, cell)


def onnx_lstm(x: torch.Tensor, start: Pair, weights: list[torch.Tensor]) -> tuple[torch.Tensor, Pair]:
    """Return outputs, hidden vector and cell through ONNX's own operator; torch's would be a loop, or of one time."""
    batch, time, size = x.shape[0], x.shape[1], weights[1].shape[1]
    matrix, recurrent, *biases = (_in_onnx_order(weight)[None] for weight in weights)
    # The operator's inputs: the fifth would be lengths.
    inputs = (x.transpose(0, 1), matrix, recurrent, torch.cat(biases, 1), None, start[0][None], start[1][None])
    shapes = [(time, 1, batch, size), (1, batch, size), (1, batch, size)]
    output, hidden, cell = torch.onnx.ops.symbolic_multi_out(
        "LSTM", inputs, {"hidden_size": size}, dtypes=[x.dtype] * 3, shapes=shapes
    )
    return output[:, 0].transpose(0, 1), (hidden[0], cell[0])


def _in_onnx_order(weight: torch.Tensor) -> torch.Tensor:
    # Input, output, forget, cell.
    enter, forget, new, leave = weight.chunk(GATES, 0)
    return torch.cat((enter, leave, forget, new), 0)


def reverse(x: torch.Tensor, context: Context) -> torch.Tensor:
    """Return [batch, time, features] from the last real frame to the first, then the padding."""
    mask = key_mask(context, x.shape[1], x.device)
    if mask is None:
        return x.flip(1)
    ends, places = mask.sum(1, keepdim=True), torch.arange(x.shape[1], device=x.device)
    index = torch.where(mask, ends - 1 - places, places)
    return x.gather(1, index[:, :, None].expand_as(x))


@builds(Feedback)
class Looped(TorchBlock):
    """[batch, time, features] to what the body makes, frame by frame."""

    body: nn.Module

    def __init__(self, node: Node, builder: Builder) -> None:
        super().__init__(node, builder)
        self.specs = states_of(node)
        self.last = f"{node.name}.last"
        self.changing = [name for name, spec in self.specs.items() if not spec.constant]

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the body's outputs, and keep the named values of all frames."""
        block = self.block
        state = self._begun(x, context)

        def move(carried: Tensors, frame: torch.Tensor) -> Moved:
            before = dict(zip(self.changing, carried, strict=True))
            inner = context.stepping({**state, **before})
            y = run(self.body, torch.cat((frame, before[self.last]), -1)[:, None], inner)[:, 0]
            after = {**before, **inner.new_state, self.last: y[:, y.shape[1] - block.features :]}
            return [after[name] for name in self.changing], [y, *(inner.values[name][:, 0] for name in block.keep)]

        after, (output, *kept) = frame_by_frame(move, [state[name] for name in self.changing], x)
        for name, value in zip(block.keep, kept, strict=True):
            context.keep(name, value)
        if context.state is not None:
            context.new_state |= dict(zip(self.changing, after, strict=True))
        return output

    def _begun(self, x: torch.Tensor, context: Context) -> dict[str, torch.Tensor]:
        # What blocks carry, in its full size.
        state = self._start(x, context) if context.state is None else dict(context.state)
        inner = context.stepping(state)
        for module in self.body.modules():
            if isinstance(module, TorchBlock):
                state |= module.begun(inner)
        return state

    def _start(self, x: torch.Tensor, context: Context) -> dict[str, torch.Tensor]:
        # As the model's `initial_state`, within a run of the whole input.
        state = {}
        for name in self.changing:
            spec = self.specs[name]
            sizes = [size or 0 for size in spec.shape]
            dtype = x.dtype if spec.dtype == "float32" else getattr(torch, spec.dtype)
            state[name] = x.new_zeros([x.shape[0], *sizes] if spec.per_sample else sizes, dtype=dtype)
        for module in self.body.modules():
            memory = getattr(getattr(module, "block", None), "memory", "")
            if memory:
                names = constants(self.specs, module.path)  # type: ignore[arg-type]  # a TorchBlock's
                state |= dict(zip(names, module.project(context.values[memory]), strict=True))  # type: ignore[operator]  # its own
        return state


def frame_by_frame(move: Move, state: Tensors, x: torch.Tensor) -> Moved:
    """Return the state after the last frame of [batch, time, features], and what `move` made of all of them."""
    if torch.onnx.is_in_onnx_export() and not statically_known_true(x.shape[1] == 1):
        return _scanned(move, state, x)
    frames = []
    for time in range(x.shape[1]):
        state, made = move(state, x[:, time])
        frames.append(made)
    return state, [torch.stack(each, 1) for each in zip(*frames, strict=True)]


def _scanned(move: Move, state: Tensors, x: torch.Tensor) -> Moved:
    # A loop in the graph: one in Python would make a graph of one time alone. It takes no tensor twice: so clones.
    def cloned(state: Tensors, frame: torch.Tensor) -> Moved:
        state, made = move(state, frame)
        return [each.clone() for each in state], [each.clone() for each in made]

    state, frames = scan(cloned, [each.clone() for each in state], x.transpose(0, 1))
    return state, [each.transpose(0, 1) for each in frames]


@builds(ShiftRight)
class Shifted(TorchBlock):
    """Zeros, then all but the last."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the same shape; in a loop `x`."""
        return functional.pad(x, (0, 0, 1, 0))[:, : x.shape[1]] if context.state is None else x

"""A whole training step as one CUDA graph: the host launches it, and no kernel waits for the next launch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from services.train_svc.engine.on_torch.calling import Tensors

Piece = tuple[Tensors, Tensors]
Step = Callable[[Sequence[Piece]], torch.Tensor]
WARM = 3
"""Steps of a shape that run as usual first: what is made at first use, such as compiled code, must be there by then."""
MOST = 8
"""Shapes that get a graph; further ones run as usual."""


class StepGraphs:
    """One graph for each shape of batch, in one pool of memory.

    Every step is a real one: a shape's first steps run as usual, then one is captured and replayed.

    Args:
        step: makes one step of pieces on the device, and returns a row of numbers; it must not wait for the device.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._seen: dict[Any, int] = {}
        self._graphs: dict[Any, _Graph] = {}
        self._pool: Any = None

    def run(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """Make a step, and return its row of numbers."""
        shape = _shape(pieces)
        if shape in self._graphs:
            return self._graphs[shape].replay(pieces)
        seen = self._seen[shape] = self._seen.get(shape, 0) + 1
        if seen <= WARM or len(self._graphs) >= MOST:
            return self._on_a_side_stream(pieces)
        # What the steps before took from the other pool is not needed twice.
        torch.cuda.empty_cache()
        graph = _Graph(self._step, pieces, self._pool)
        self._pool = graph.pool
        self._graphs[shape] = graph
        return graph.replay(pieces)

    def _on_a_side_stream(self, pieces: Sequence[Piece]) -> torch.Tensor:
        # Gradients and moments made on the stream of a later capture must not belong to the default one.
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            row = self._step(pieces)
        torch.cuda.current_stream().wait_stream(stream)
        return row


class _Graph:
    def __init__(self, step: Step, pieces: Sequence[Piece], pool: Any) -> None:  # noqa: ANN401 - torch's handle
        self._pieces = [(_copied(inputs), _copied(targets)) for inputs, targets in pieces]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._row = step(self._pieces)
        self.pool = self._graph.pool()

    def replay(self, pieces: Sequence[Piece]) -> torch.Tensor:
        for mine, given in zip(self._pieces, pieces, strict=True):
            for own, new in zip(mine, given, strict=True):
                for name, tensor in new.items():
                    own[name].copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._row


def _copied(tensors: Tensors) -> Tensors:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _shape(pieces: Sequence[Piece]) -> Any:  # noqa: ANN401 - a key
    return tuple(
        tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in part.items())
        for piece in pieces
        for part in piece
    )

"""Decoding loops: steps over chunks of the input with the carried state give what the whole input gives at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.train_svc.engine.architecture import OUTPUT, Description
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.stepping import memories, stepping_node
from tests.unit.train_svc.engine.parity import close, on_torch, outputs_of, pair

CHUNKS = (3, 1, 1, 2)
"""How many frames the first steps take; the last step takes what is left."""


def check_decoding(description: Description, tmp_path: Path, part: str = "", **sizes: int) -> None:
    """Assert that a causal model gives the same in steps as at once: both engines, eager and compiled.

    Args:
        description: of the model; dropout must be 0.
        tmp_path: for the weights.
        part: the part that steps, such as a `decoder`; what it looks at comes from `encode` of the parts that make it,
            padding and all. Empty: the whole model.
        sizes: numbers for the sizes that are words.
    """
    import tensorflow as tf

    model, other = pair(description, tmp_path)
    model.eval()
    loop = Loop(description, part)
    given = sample_inputs(description, sizes=sizes)
    inputs = on_torch({name: array for name, array in given.items() if name not in loop.own_padding})
    with torch.no_grad():
        wanted = outputs_of(model(**inputs))[loop.output]
        torch.compiler.reset()
        compiled = torch.compile(model.step, fullgraph=True, dynamic=True, backend="eager")
        for form, step in (("eager", model.step), ("compiled", compiled)):
            got = np.concatenate(list(loop.run(model, step, inputs, model.encode)), 1)
            close(got, wanted, f"torch's {form} steps")
    tensors = {name: tf.convert_to_tensor(tensor.numpy()) for name, tensor in inputs.items()}
    traced = tf.function(other.step, reduce_retracing=True)
    for form, step in (("eager", other.step), ("traced", traced)):
        got = np.concatenate(list(loop.run(other, step, tensors, lambda part, **named: other.encode(named, part))), 1)
        close(got, wanted, f"TensorFlow's {form} steps")


@dataclass(frozen=True)
class Loop:
    """How a model, or its part, is fed."""

    description: Description
    """Of the model."""
    part: str
    """Which steps; empty: the whole model."""

    @property
    def _parts(self) -> list[Part]:
        nodes = stepping_node(self.description, self.part).walk()
        return [node.block for node in nodes if isinstance(node.block, Part)]

    @property
    def own_padding(self) -> set[str]:
        """Inputs that tell of padding in what steps: a loop writes into none."""
        return {name for block in self._parts for name in (block.lengths, block.mask) if name}

    @property
    def flowing(self) -> str:
        """The input that comes in chunks."""
        return (self._parts[0].input if self._parts else "") or next(iter(self.description.inputs))

    @property
    def output(self) -> str:
        """Which of the model's outputs the steps give."""
        last = self._parts[-1].output if self._parts else ""
        return last if last in self.description.outputs else OUTPUT

    def run(
        self, model: Any, step: Callable[..., Any], inputs: dict[str, Any], encode: Callable[..., Any]
    ) -> Iterator[Any]:
        """Yield the output of each step."""
        frames, begin = inputs[self.flowing], 0
        assert frames.shape[1] > sum(CHUNKS), f"got {frames.shape[1]} frames, wanted more than {sum(CHUNKS)}"
        memory: dict[str, Any] = {}
        for name in memories(self.description, self.part):
            memory |= encode(part=self._maker(name), **inputs)
        state = model.initial_state(frames.shape[0], part=self.part, **memory)
        for size in (*CHUNKS, frames.shape[1] - sum(CHUNKS)):
            result, state = step(state, frames[:, begin : begin + size], part=self.part)
            begin += size
            yield np.asarray(next(iter(outputs_of(result).values())))

    def _maker(self, memory: str) -> str:
        children = self.description.root.children.values()
        return next(node.name for node in children if isinstance(node.block, Part) and node.block.output == memory)

"""How many frames come out of a model, known on the host before it runs."""

import dataclasses
from typing import Any

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Repeat
from services.train_svc.engine.reading import fault

CTC = "ctc"
"""Name of the output with CTC's scores in a model that has several; of others, the one output is it."""
_MOST_FRAMES = 1 << 24


class FrameCount:
    """Frames of a model's scores by those of its features: what CTC calls the input's lengths.

    Read off the description, resolved at each length once and then remembered. Safe to use from several threads.
    """

    def __init__(self, description: Description) -> None:
        outputs = description.output_shapes
        if len(outputs) > 1 and CTC not in outputs:
            raise fault("model", f"has the outputs {', '.join(outputs)}, and none is named {CTC}")
        self._output = CTC if CTC in outputs else next(iter(outputs))
        first = next(iter(description.inputs.values()))
        if len(first.shape) != 2 or not isinstance(first.shape[0], str):  # noqa: PLR2004 - time and features
            raise fault("model", f"takes {list(first.shape)}, wanted [time, features] such as [time, 80]")
        self._time: str = first.shape[0]
        self._description = _thin(description)
        self._known: dict[int, int] = {}

    def __call__(self, frames: int) -> int:
        """Return how many frames come out; 0 where the model cannot take so few."""
        if frames < 1:
            return 0
        if frames not in self._known:
            self._known[frames] = self._resolve(frames)
        return self._known[frames]

    def least(self, wanted: int) -> int:
        """Return how many frames must go in for at least `wanted` to come out."""
        low, high = 0, max(1, wanted)
        while self(high) < wanted:
            low, high = high, 2 * high
            if high > _MOST_FRAMES:
                raise fault("model", f"never gives {wanted} frames, however long the recording")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self(middle) >= wanted else (middle, high)
        return high

    def _resolve(self, frames: int) -> int:
        numbers = {**self._description.typical, self._time: frames}
        inputs = {
            name: dataclasses.replace(given, shape=tuple(numbers.get(size, size) for size in given.shape))  # type: ignore[arg-type]  # numbers have no names
            for name, given in self._description.inputs.items()
        }
        try:
            shapes = dataclasses.replace(self._description, inputs=inputs, input_shape=()).output_shapes
        except InvalidError:
            return 0
        size = shapes[self._output][0]
        if size is None:
            raise fault("model", f"the time of its output {self._output} does not follow from that of its input")
        return size


def _thin(description: Description) -> Description:
    # What is repeated keeps the shape, so that once is enough: a deep model is resolved many times faster.
    try:
        return dataclasses.replace(description, body=tuple(map(_once, description.body)), input_shape=())
    except InvalidError:  # A block refers to one that is no longer there.
        return description


def _once(block: Block) -> Block:
    changed: dict[str, Any] = {
        field.name: tuple(map(_once, value))
        for field in dataclasses.fields(block)
        if isinstance(value := getattr(block, field.name), tuple) and all(isinstance(item, Block) for item in value)
    }
    if isinstance(block, Repeat):
        changed |= {"times": 1, "cycle": ()}
    return dataclasses.replace(block, **changed) if changed else block

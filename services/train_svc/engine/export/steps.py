"""One step of a stream or of a decoding loop as a graph, with the carried state going in and coming out."""

from contextlib import suppress

import torch

from services.train_svc.engine.architecture import OUTPUT, State
from services.train_svc.engine.export.forms import (
    BATCH,
    REFUSALS,
    Axes,
    Described,
    Plan,
    Tensors,
    by_name,
    draw,
    typical,
)
from services.train_svc.engine.export.parts import earlier, part_block, reads, real_frames
from services.train_svc.engine.on_torch import Model
from services.train_svc.engine.reading import fault
from services.train_svc.engine.stepping import MASK, memories, state_specs

NEXT = ".next"
"""Ends the name of a state that comes out: it goes in as the state of that name in the next call."""
PAST = "past"
"""The axis of a cache that grows; `past_2` is one that grows at another pace."""


class Step(Described):
    """The next frames or tokens, and the state, to the outputs and the new state."""

    def __init__(self, model: Model, part: str, taken: tuple[str, ...]) -> None:
        description = model.description
        specs = state_specs(description, part)
        if not specs:
            raise fault("step", f"{part or 'the model'} carries nothing from step to step; export it without `step`")
        if not part and memories(description):
            raise fault("part", "name the part that steps, such as 'decoder'; the whole model has no step of its own")
        super().__init__(model, _names(model, part, taken), ())
        self.part, self.specs, self.taken = part, specs, taken
        self.words = {word for axes in self.axes.values() for word in axes.values()} - {BATCH}
        self.least, self.free = self._sizes_of_a_step()
        result, self.after = self._two_steps()
        if not self.free:
            self.axes = {name: {0: BATCH} for name in self.axes}
        self.changing = tuple(name for name, spec in specs.items() if not spec.constant)
        self.outputs = (*result, *(name + NEXT for name in self.changing))
        self.axes |= _state_axes(model, part, specs, self.after)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs, then the new state."""
        given = dict(zip(self.axes, tensors, strict=True))
        state = {name: given[name] for name in self.specs}
        result, new = self._step(state, {name: given[name] for name in self.names})
        return (*result.values(), *(new[name] for name in self.changing))

    def start(self, batch: int, sizes: dict[str, int]) -> Tensors:
        """Return the state before the first step."""
        model, memory = self.model, {}
        needed = memories(model.description, self.part)
        if needed:
            context = earlier(model, self.part, draw(model.description, batch, sizes), self.taken)
            memory = {name: context.values[name] for name in needed}
            memory |= {name + MASK: mask for name in needed if (mask := real_frames(context, name)) is not None}
        with torch.inference_mode():
            return model.initial_state(batch, part=self.part, **memory)

    def plans(self, trial: int) -> list[Plan]:
        """Return steps of different sizes, then of the least; of the one size that a stream takes."""
        least, usual = self.least, self._usual()
        steps = [(least + 4 + trial, least, least + 1), (usual, usual, least)][trial % 2] if self.free else ()
        return [
            [self._sizes(size, plan[0]) for size in each]
            for plan in super().plans(trial)
            for each in (steps, (least,) * 3)
            if each
        ]

    def carried(self, outputs: Tensors) -> Tensors:
        """Return the new state under the names by which it goes in."""
        return {name: outputs[name + NEXT] for name in self.changing}

    def example(self) -> Tensors:
        """Return a step that has a past."""
        given = self.after | self.samples(2, self._sizes(self._usual(), typical(self.model.description)))
        return {name: given[name] for name in self.axes}

    def _sizes(self, size: int, others: dict[str, int]) -> dict[str, int]:
        return {word: size if word in self.words else other for word, other in others.items()}

    def _longest(self) -> int:
        return max((size for word, size in typical(self.model.description).items() if word in self.words), default=1)

    def _usual(self) -> int:
        # Several tokens, or several frames of what subsampling leaves: no size of 1, which torch takes for a constant.
        return max(self.least + 3, self._longest() // 8) if self.free else self.least

    def _sizes_of_a_step(self) -> tuple[int, bool]:
        # The least size of a step, and whether it may be of others too: some streams take whole chunks only.
        start = self.start(2, typical(self.model.description))
        for size in range(1, self._longest() + 1):
            if self._takes(start, size):
                # Frames that fill no stack of some are dropped, so that a few more than a chunk say nothing yet.
                return size, all(self._takes(start, more) for more in range(size + 1, 2 * size + 5))
        raise fault("typical", f"a step of {self.part or 'the model'} takes no size up to those that are typical")

    def _takes(self, state: Tensors, size: int) -> bool:
        samples = self.samples(2, self._sizes(size, typical(self.model.description)))
        with suppress(*REFUSALS), torch.inference_mode():
            # A stream may take what it only looks ahead at, and give nothing.
            return all(tensor.numel() for tensor in self._step(state, samples)[0].values())
        return False

    def _two_steps(self) -> tuple[Tensors, Tensors]:
        usual = typical(self.model.description)
        result: Tensors = {}
        state = self.start(2, usual)
        for seed in range(2):
            with torch.inference_mode():
                result, state = self._step(state, self.samples(2, self._sizes(self._usual(), usual), seed))
        return result, state

    def _step(self, state: Tensors, inputs: Tensors) -> tuple[Tensors, Tensors]:
        model, part = self.model, self.part
        result, new = model.step(state, part=part, **inputs)
        name = part_block(model, part).output if part else next(iter(model.description.output_shapes))
        return by_name(result, name or OUTPUT), new


def _names(model: Model, part: str, taken: tuple[str, ...]) -> tuple[str, ...]:
    if not part:
        return taken
    read = reads(model, part, earlier(model, part, draw(model.description, 2, typical(model.description)), taken))
    return tuple(name for name in taken if name in read)


def _state_axes(model: Model, part: str, specs: dict[str, State], state: Tensors) -> dict[str, Axes]:
    looked_at = _memory_of(model, part)
    paces: dict[int, str] = {}
    result: dict[str, Axes] = {}
    for name, spec in specs.items():
        axes: Axes = {0: BATCH} if spec.per_sample else {}
        for axis, size in enumerate(spec.shape, len(axes)):
            if size is None and spec.constant:
                axes[axis] = f"{looked_at[name]}_time"
            elif size is None:
                length = state[name].shape[axis]
                axes[axis] = paces.setdefault(length, PAST if not paces else f"{PAST}_{len(paces) + 1}")
        result[name] = axes
    return result


def _memory_of(model: Model, part: str) -> dict[str, str]:
    # The memory behind each constant state.
    top = model.description.root.children[part] if part else model.description.root
    found = {name + MASK: name for name in memories(model.description, part)}
    for node in top.walk():
        found |= {f"{node.name}.{state}": getattr(node.block, "memory", "") for state in node.states}
    return found

"""One part of a model alone, as a graph of its own: an encoder, or a decoder that is given a whole text at once."""

from typing import Any

import torch

from services.train_svc.engine.architecture import OUTPUT
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.context import Context
from services.train_svc.engine.export.forms import BATCH, Axes, Described, Tensors, draw, typical
from services.train_svc.engine.on_torch import Model
from services.train_svc.engine.on_torch.block import key_mask, run
from services.train_svc.engine.reading import fault
from services.train_svc.engine.stepping import MASK, memories, padding_of, stepping_node


class Noted(dict[str, Any]):
    """Named values that remember which of them were read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a tensor
        """Return the value, and note that it was read."""
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - a tensor
        """Return the value or the default, and note that it was read."""
        self.read.add(name)
        return super().get(name, default)


class PartAlone(Described):
    """A part: its inputs and what earlier parts gave, to its output and the mask of that."""

    def __init__(self, model: Model, part: str, names: tuple[str, ...], memory_for: str = "") -> None:
        block = part_block(model, part)
        context = earlier(model, part, draw(model.description, 2, typical(model.description)), names)
        read = reads(model, part, context)
        super().__init__(model, tuple(name for name in names if name in read), ())
        self.part, self.block, self.memory_for = part, block, memory_for
        self.given = tuple(name for name in context.values if name in read and name not in names)
        """Values of earlier parts that go in."""
        self.taken = names
        """The description's inputs that the whole model would take."""
        self.masked = tuple(name for name in self.given if real_frames(context, name) is not None)
        _check_memory(model, block, memory_for)
        self.axes |= {name: _axes(name) for name in self.given} | {name + MASK: _axes(name) for name in self.masked}
        with torch.inference_mode():
            self.outputs = tuple(self._run(self.example()))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the part's output, its mask where something is padded, and the states that it fills."""
        return tuple(self._run(dict(zip(self.axes, tensors, strict=True))).values())

    def start(self, batch: int, sizes: dict[str, int]) -> Tensors:
        """Return what earlier parts give, with masks."""
        if not self.given:
            return {}
        context = earlier(self.model, self.part, draw(self.model.description, batch, sizes), self.taken)
        return {name: context.values[name] for name in self.given} | {
            name + MASK: mask for name in self.masked if (mask := real_frames(context, name)) is not None
        }

    def _run(self, tensors: Tensors) -> Tensors:
        context = Context({name: tensors[name] for name in (*self.names, *self.given)})
        context.padding |= {name: (None, tensors[name + MASK]) for name in self.masked}
        x = run(self.model.get_submodule(self.part), next(iter(context.values.values())), context)
        name = self.block.output or OUTPUT
        context.keep(name, x)
        mask = real_frames(context, name)
        made = {name: x} if mask is None else {name: x, name + MASK: mask}
        return made | self.model.project_memory(self.memory_for, **made) if self.memory_for else made


def _check_memory(model: Model, block: Part, memory_for: str) -> None:
    wanted = memories(model.description, memory_for) if memory_for else []
    if memory_for and wanted != [block.output]:
        found = f"looks at {', '.join(wanted) or 'nothing'}"
        raise fault("memory_for", f"{memory_for!r} {found}, and this part makes {block.output or 'no named value'}")


def _axes(name: str) -> Axes:
    return {0: BATCH, 1: f"{name}_time"}


def part_block(model: Model, part: str) -> Part:
    """Return the block of a part.

    Raises:
        InvalidError: the model has no such part.
    """
    block = stepping_node(model.description, part).block
    if not isinstance(block, Part):
        raise fault("part", f"{part!r} is a {block.kind}, wanted a `part`")
    return block


def earlier(model: Model, part: str, inputs: Tensors, names: tuple[str, ...]) -> Context:
    """Return the context once everything before a part has run on the inputs of these names."""
    context = Context({name: inputs[name] for name in names if name in inputs})
    x = next(iter(context.values.values()))
    with torch.inference_mode():
        for name, module in model.named_children():
            if name == part:
                break
            x = run(module, x, context)
    return context


def reads(model: Model, part: str, context: Context, state: Tensors | None = None) -> set[str]:
    """Return the names of the values that a part reads, found by running it."""
    values = Noted(context.values)
    noted = Context(values, state)
    noted.padding = dict(context.padding) | padding_of(state or {})
    x = next(iter(context.values.values()))
    with torch.inference_mode():
        run(model.get_submodule(part), x, noted)
    return values.read


def real_frames(context: Context, name: str) -> torch.Tensor | None:
    """Return [batch, time], true where the named value is real; None: all of it is."""
    padded = Context({})
    padded.lengths, padded.mask = context.padding.get(name, (None, None))
    value = context.values[name]
    return key_mask(padded, value.shape[1], value.device)

"""What is exported: a model, a part of it or a step of it, as a function of tensors in a row."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.architecture import INPUT, OUTPUT, Description
from services.train_svc.engine.on_torch import Model
from services.train_svc.engine.reading import fault
from services.train_svc.engine.samples import sample_inputs

Axes = dict[int, str]
"""Axes whose sizes differ from call to call, and the words that name them in the graph."""
Tensors = dict[str, torch.Tensor]
Plan = list[dict[str, int]]
"""For each of some calls in a row: numbers for the sizes that are words."""
BATCH = "batch"
REFUSALS = (RuntimeError, IndexError, ValueError)
"""What torch raises where a model does not take inputs of some size."""
FACTORS = (1.0, 1.5, 0.5)
"""Of the typical sizes, tried in turn; two words never have the same in one call. The first trial has sizes of 1."""


class Form(nn.Module):
    """A function of tensors in a row, with names for what goes in and comes out."""

    def __init__(self, axes: dict[str, Axes], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.axes = axes
        """The inputs in the order of the call, each with its axes of any size."""
        self.outputs = outputs
        """Names of what the call gives."""
        self.optional: frozenset[str] = frozenset()
        """Inputs that need not be in the graph where nothing reads them."""

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs."""
        raise NotImplementedError(type(self).__name__)

    def plans(self, trial: int) -> list[Plan]:
        """Return what to try in the trial of this number; the model may refuse all but the last."""
        return [[{}]]

    def start(self, batch: int, sizes: dict[str, int]) -> Tensors:
        """Return the tensors that go in beside the samples: state before the first call, and what other parts gave."""
        return {}

    def samples(self, batch: int, sizes: dict[str, int], seed: int = 0) -> Tensors:
        """Return random inputs."""
        raise NotImplementedError(type(self).__name__)

    def carried(self, outputs: Tensors) -> Tensors:
        """Return what the next call takes of this one's outputs."""
        return {}

    def example(self) -> Tensors:
        """Return the inputs of a usual call, which torch traces."""
        # Two samples: torch.export takes a size of one for a constant.
        plan = self.plans(0)[-1]
        given = self.start(2, plan[0]) | self.samples(2, plan[0])
        return {name: given[name] for name in self.axes}


class Plain(Form):
    """Any module that takes [batch, *shape] float32 and gives one tensor."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__({INPUT: {0: BATCH}}, (OUTPUT,))
        self.module = module
        self.shape = shape

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the one output."""
        return (self.module(*tensors),)

    def samples(self, batch: int, sizes: dict[str, int], seed: int = 0) -> Tensors:
        """Return normal numbers."""
        return {INPUT: torch.randn(batch, *self.shape, generator=torch.Generator().manual_seed(seed))}


class Described(Form):
    """What has a description that says which inputs it takes."""

    def __init__(self, model: Model, names: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__({name: input_axes(model.description, name) for name in names}, outputs)
        self.model = model
        self.names = names
        """The description's inputs that go in."""
        self.optional = frozenset(name for name in names if model.description.inputs[name].optional)

    def samples(self, batch: int, sizes: dict[str, int], seed: int = 0) -> Tensors:
        """Return random inputs by the description."""
        given = draw(self.model.description, batch, sizes, seed)
        return {name: given[name] for name in self.names}

    def plans(self, trial: int) -> list[Plan]:
        """Return one call: other sizes, then the typical ones, as a learned position has a last."""
        usual = typical(self.model.description)
        moved = {
            word: max(1, round(size * FACTORS[(trial + place) % len(FACTORS)])) if trial else 1
            for place, (word, size) in enumerate(sorted(usual.items()))
        }
        return [[moved], [usual]]


class Whole(Described):
    """A whole model, with all inputs at once."""

    def __init__(self, model: Model, names: tuple[str, ...]) -> None:
        super().__init__(model, names, tuple(model.description.output_shapes))

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs in the description's order."""
        result = by_name(self.model(**dict(zip(self.names, tensors, strict=True))), self.outputs[0])
        return tuple(result[name] for name in self.outputs)


def by_name(result: Any, name: str) -> Tensors:  # noqa: ANN401 - a tensor or several
    """Return a model's outputs by their names, or its one output by `name`."""
    return result if isinstance(result, dict) else {name: result}


def draw(description: Description, batch: int, sizes: dict[str, int], seed: int = 0) -> Tensors:
    """Return random inputs as torch tensors."""
    arrays = sample_inputs(description, batch=batch, sizes=sizes, seed=seed)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def typical(description: Description) -> dict[str, int]:
    """Return a usual number for each size that is a word.

    Raises:
        InvalidError: the description gives none.
    """
    missing = sorted(description.dimensions - set(description.typical))
    if missing:
        raise fault("typical", f"gives no number for {', '.join(missing)}; an export is tried out at such sizes")
    return {word: description.typical[word] for word in description.dimensions}


def input_axes(description: Description, name: str) -> Axes:
    """Return the axes of an input that differ from call to call, the batch first."""
    shape = description.inputs[name].shape
    return {0: BATCH} | {axis: size for axis, size in enumerate(shape, 1) if isinstance(size, str)}


def chosen(description: Description, without: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the inputs but for those left out.

    Raises:
        InvalidError: one of `without` is no input that may be left out.
    """
    optional = [name for name, given in description.inputs.items() if given.optional]
    for name in without:
        if name not in optional:
            message = f"{name!r} is no input that may be left out; those are: {', '.join(optional) or 'none'}"
            raise fault("without", message)
    return tuple(name for name in description.inputs if name not in without)


def calls(form: Form, batch: int, plan: Plan) -> Iterator[Tensors]:
    """Yield the samples of each call of a plan."""
    for seed, sizes in enumerate(plan):
        yield form.samples(batch, sizes, seed)

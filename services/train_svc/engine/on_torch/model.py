"""A whole model on torch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.context import Context
from services.train_svc.engine.feeding import bind
from services.train_svc.engine.on_torch.block import Builder, key_mask, run
from services.train_svc.engine.stepping import (
    MASK,
    check_memory,
    constants,
    given_out,
    memories,
    padding_of,
    state_specs,
)

Output = torch.Tensor | dict[str, torch.Tensor]


class Model(nn.Module):
    """The module of a description: its blocks by their names, called with its inputs.

    Inputs are given in their order or by name, each [batch, *shape]. One output comes alone, several as a dict.
    """

    def __init__(self, description: Description, builder: Builder) -> None:
        super().__init__()
        self.description = description
        for name, node in description.root.children.items():
            self.add_module(name, builder.build(node))

    def forward(self, *inputs: torch.Tensor, **named: torch.Tensor) -> Output:
        """Return the output, or the outputs by name.

        Raises:
            InvalidError: an input is unknown, missing, or one too many.
        """
        context = Context(bind(self.description, inputs, named), training=self.training)
        return self._outputs(self._flow(context), context)

    def step(
        self, state: Mapping[str, torch.Tensor], *inputs: torch.Tensor, part: str = "", **named: torch.Tensor
    ) -> tuple[Output, dict[str, torch.Tensor]]:
        """Return the outputs for the next frames of a stream, or tokens of a loop, and the state for the step after.

        Args:
            state: what `initial_state` or the step before gave.
            inputs: the model's inputs, or the part's one.
            part: the part that runs alone, such as `decoder`; empty: the whole model.
            named: inputs by name.
        """
        context = Context(self._values(inputs, named, part), dict(state), training=self.training)
        context.padding |= padding_of(state)
        x = self._flow(context, part)
        kept = {name: tensor for name, tensor in state.items() if name not in context.new_state}
        return self._outputs(x, context, part), {**kept, **context.new_state}

    def encode(self, *inputs: torch.Tensor, part: str = "encoder", **named: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what `initial_state` takes: a part's output by its name, and `<name>_mask` where something is padded.

        Args:
            inputs: the part's one input.
            part: the part, such as `encoder`, whose output others look at.
            named: inputs by name, such as the mask.
        """
        context = Context(self._values(inputs, named, part), training=self.training)
        self._flow(context, part)
        name = self._part(part).output
        x: torch.Tensor = context.go_on_with(name)
        mask = key_mask(context, x.shape[1], x.device)
        return {name: x} if mask is None else {name: x, name + MASK: mask}

    def initial_state(self, batch: int, *, part: str = "", **memory: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the state before the first step.

        Args:
            batch: samples at once.
            part: the part that will step; empty: the whole model.
            memory: what `encode` returned: the named values that the part looks at, and where they are real;
                without `<name>_mask` all of it is.

        Raises:
            InvalidError: there is no such part, or a memory is missing or unknown.
        """
        check_memory(self.description, part, memory)
        weight = next(self.parameters())
        specs = state_specs(self.description, part)
        state = {name: _empty(spec, batch, weight) for name, spec in specs.items() if not spec.constant}
        return state | self.project_memory(part, **memory)

    def project_memory(self, part: str, **memory: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the constant state: what every block makes of the memory that it looks at, and the memories' masks."""
        specs, state = state_specs(self.description, part), dict[str, torch.Tensor]()
        for module in self.get_submodule(part).modules():
            name = getattr(getattr(module, "block", None), "memory", "")
            if name:
                state |= dict(zip(constants(specs, module.path), module.project(memory[name]), strict=True))  # type: ignore[operator, arg-type]  # its own
        for name in memories(self.description, part):
            if name + MASK in specs:
                frames = memory[name].shape[:2]
                whole = torch.ones(frames, dtype=torch.bool, device=memory[name].device)
                state[name + MASK] = memory.get(name + MASK, whole)
        return state

    def _values(self, inputs: tuple[Any, ...], named: dict[str, Any], part: str = "") -> dict[str, Any]:
        names = list(self.description.inputs)
        if part:
            names = [self._part(part).input or names[0]]
        return dict(zip(names, inputs, strict=False)) | named

    def _part(self, name: str) -> Part:
        block = self.get_submodule(name).block
        assert isinstance(block, Part)
        return block

    def _flow(self, context: Context, part: str = "") -> torch.Tensor:
        x: torch.Tensor = next(iter(context.values.values()))
        for module in [self.get_submodule(part)] if part else self.children():
            x = run(module, x, context)
        return x

    def _outputs(self, x: torch.Tensor, context: Context, part: str = "") -> Output:
        names = given_out(self.description, context, part)
        if not names:
            return x
        return context.values[names[0]] if len(names) == 1 else {name: context.values[name] for name in names}


def _empty(spec: Any, batch: int, weight: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - a State
    sizes = [0 if size is None else size for size in spec.shape]
    dtype = weight.dtype if spec.dtype == "float32" else getattr(torch, spec.dtype)
    return torch.zeros([batch, *sizes] if spec.per_sample else sizes, dtype=dtype, device=weight.device)


def build_torch(description: Description, device: str = "cpu") -> Model:
    """Return the module; on the device "meta" its parameters take no memory.

    Args:
        description: what to build.
        device: where its parameters live.
    """
    builder = Builder()
    with torch.device("meta"):
        model = Model(description, builder)
    if device != "meta":
        model.to_empty(device=device)
        builder.initialize()
    return model

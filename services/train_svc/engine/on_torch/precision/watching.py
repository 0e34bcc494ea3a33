"""The float32 pass in which every operator is measured as values and gradients flow through it."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import register_multi_grad_hook

from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.precision.applying import children_of
from services.train_svc.engine.on_torch.precision.casting import HALF
from services.train_svc.engine.on_torch.precision.comparing import Tally
from services.train_svc.engine.on_torch.precision.flows import (
    context_in,
    copied,
    made,
    maker_of,
    mapped,
    mark,
    tensors_in,
)
from services.train_svc.engine.on_torch.precision.replaying import Call, Handed, replay
from services.train_svc.engine.on_torch.precision.scouting import Scout, floating_inputs

Gradients = Sequence[torch.Tensor | None]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How operators are measured."""

    dtype: torch.dtype
    """Autocast's."""
    scale: float
    """Of gradients in that format."""
    calls: int
    """How many of an operator's runs are measured."""
    suspect: float
    """Error by rounded inputs from which on it is asked whose rounding it was."""


class Watch:
    """Measures operators during one forward and backward pass in float32.

    Each run's inputs are held until its gradient has come, which is about what the pass itself holds; one run at a time
    is made again.

    Args:
        scout: what the same pass did under autocast.
        tallies: errors by operator; added to.
        rules: how.
        worst: the run of each operator with the largest gradient, which is always measured.
    """

    def __init__(self, scout: Scout, tallies: dict[str, Tally], rules: Rules, worst: Mapping[str, int]) -> None:
        self._scout, self._tallies, self._rules, self._worst = scout, tallies, rules, worst
        self._runs: dict[str, int] = dict.fromkeys(tallies, 0)
        self._handed: dict[str, Handed] = {}
        self._open: list[Call | None] = []
        self._busy = False

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Measure the pass that is made within, forward and backward."""
        handles = []
        for name, module in model.named_modules():
            if name in self._tallies:
                handles.append(module.register_forward_pre_hook(self._before(name), with_kwargs=True))
                handles.append(module.register_forward_hook(self._after(name)))
            handles.append(module.register_forward_hook(self._note_makers(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, name: str) -> Callable[..., None]:
        chosen = spread(self._scout.calls[name], self._rules.calls) | {self._worst.get(name, 0)}

        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._busy:
                return
            run = self._runs[name]
            self._runs[name] += 1
            formats = self._scout.taken.get((name, run), [])
            self._open.append(_call(name, module, args, kwargs, formats) if run in chosen else None)

        return note

    def _after(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401 - whatever it gives
            if self._busy:
                return
            call, context = self._open.pop(), context_in(args)
            before = context_in(call.args) if call else None
            tensors = made(module, output, context, before.values if before else {})
            for tensor in tensors:
                mark(tensor, name)
            if call is not None:
                self._compare_outputs(call)
                self._await_gradients(call, tensors)

        return note

    def _note_makers(self, name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401 - as above
            if not self._busy:
                makers = [maker_of(tensor) for tensor in tensors_in(output) if tensor.is_floating_point()]
                self._handed[name] = Handed(formats=self._scout.given.get(name, ()), makers=makers)

        return note

    @torch.no_grad()
    def _compare_outputs(self, call: Call) -> None:
        exact, _ = self._replay(call, None)
        found, _ = self._replay(call, self._rules.dtype)
        free, _ = self._replay(call, None, ())
        together = Tally()
        for index, (one, other, whole) in enumerate(zip(exact, found, free, strict=True)):
            self._tallies[call.name].add(f"output/{index}", [one], [other])
            together.add(str(index), [whole], [one])
        makers = self._makers(call)
        if together.error("") > self._rules.suspect:
            for maker in makers:
                self._pass_on(call, maker, free, self._replay(call, None, (maker,))[0])
        else:
            for maker in makers:
                self._pass_on(call, maker, free, exact)

    def _pass_on(self, call: Call, maker: str, free: list[torch.Tensor], found: list[torch.Tensor]) -> None:
        for index, (one, other) in enumerate(zip(free, found, strict=True)):
            self._tallies[maker].add(f"onward/{call.name}/{index}", [one], [other], counts=False)

    def _makers(self, call: Call) -> set[str]:
        # Of what comes in, and of what the modules inside hand on.
        inner = [self._handed[name] for name, _ in children_of(call.module, call.name) if name in self._handed]
        whole = [Handed(formats=call.formats, makers=call.makers), *inner]
        pairs = [pair for each in whole for pair in zip(each.formats, each.makers, strict=False)]
        return {maker for dtype, maker in pairs if dtype in HALF and maker in self._tallies}

    def _await_gradients(self, call: Call, tensors: list[torch.Tensor]) -> None:
        places = [index for index, tensor in enumerate(tensors) if tensor.requires_grad]
        if places:
            wanting = [tensors[place] for place in places]
            register_multi_grad_hook(wanting, lambda gradients: self._compare_gradients(call, places, gradients))

    @torch.enable_grad()
    def _compare_gradients(self, call: Call, places: list[int], gradients: Gradients) -> None:
        given = {place: each for place, each in zip(places, gradients, strict=True) if each is not None}
        exact, found = (self._gradients(call, given, dtype) for dtype in (None, self._rules.dtype))
        for place, one, other in zip(("inputs", "parameters"), exact, found, strict=True):
            pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
            self._tallies[call.name].add(f"gradient/{place}", [a for a, _ in pairs], [b for _, b in pairs])

    def _gradients(
        self, call: Call, given: dict[int, torch.Tensor], dtype: torch.dtype | None
    ) -> tuple[Gradients, Gradients]:
        outputs, leaves = self._replay(call, dtype)
        parameters = [each for each in call.module.parameters(recurse=False) if each.requires_grad]
        used = [(outputs[place], each) for place, each in given.items() if outputs[place].requires_grad]
        if not used or not (leaves or parameters):
            return (), ()
        scale = 1.0 if dtype is None else self._rules.scale
        found = torch.autograd.grad(
            [output for output, _ in used],
            [*leaves, *parameters],
            [(each * scale).to(output.dtype) for output, each in used],
            allow_unused=True,
        )
        results = [None if each is None else each.float() / scale for each in found]
        return results[: len(leaves)], results[len(leaves) :]

    def _replay(
        self, call: Call, dtype: torch.dtype | None, makers: Container[str] | None = None
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        self._busy = True
        try:
            return replay(call, self._handed, dtype=dtype, makers=makers)
        finally:
            self._busy = False


def spread(runs: int, most: int) -> set[int]:
    """Return the numbers of at most so many runs, from the first to the last."""
    if runs <= most:
        return set(range(runs))
    return {round(step * (runs - 1) / max(most - 1, 1)) for step in range(most)}


def _call(
    name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], formats: Sequence[torch.dtype]
) -> Call:
    def cut(tensor: torch.Tensor) -> torch.Tensor:
        # A copy where the module writes into its input.
        own = tensor.detach().clone() if getattr(module, "inplace", False) else tensor.detach()
        return own.requires_grad_(tensor.requires_grad)

    makers = [maker_of(tensor) for tensor in floating_inputs(module, args, kwargs)]
    cut_args, cut_kwargs = mapped((args, kwargs), cut)
    cut_args = tuple(shallow(each) if isinstance(each, Context) else each for each in cut_args)
    return Call(name=name, module=module, args=cut_args, kwargs=cut_kwargs, formats=formats, makers=makers)


def shallow(context: Context) -> Context:
    """Return a context of its own, whose values can be told from those that are kept later."""
    other = copied(context)
    other.values = dict(context.values)
    return other

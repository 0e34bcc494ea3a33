"""What a model's modules do in a pass: which of them compute something themselves, how often, and in which formats."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from services.train_svc.engine.on_torch.precision.flows import change_context, context_in, tensors_in

MOVES = {
    "_to_copy", "alias", "arange", "bernoulli_", "cat", "clone", "constant_pad_nd", "copy_", "detach", "empty",
    "empty_like", "empty_strided", "eye", "fill_", "flip", "full", "full_like", "gather", "index", "index_select",
    "lift_fresh", "lift_fresh_copy", "masked_fill", "new_empty", "new_empty_strided", "new_full", "new_ones",
    "new_zeros", "ones", "ones_like", "repeat", "scalar_tensor", "select_backward", "slice_backward", "stack", "where",
    "zeros", "zeros_like", "zero_",
}  # fmt: skip
"""Operations that move or make numbers, and round none."""


class Scout(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's has no types
    """Watches one pass of a model under torch's own mixed precision."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.working: dict[str, None] = {}
        """Modules that compute something themselves, in the order in which they first did."""
        self.calls: dict[str, int] = defaultdict(int)
        """Runs of each module in the pass."""
        self.taken: dict[tuple[str, int], list[torch.dtype]] = {}
        """Formats of the floating inputs of each run."""
        self.given: dict[str, list[torch.dtype]] = {}
        """Formats of the floating outputs of a module's last run."""
        self._inside: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's own
        """Return the operation's result, and note whose it was."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        views = any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)
        if self._inside and name not in MOVES and not views and _is_floating(result):
            self.working[self._inside[-1]] = None
        return result

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Watch the passes that are made within."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(self._before(name), with_kwargs=True))
            handles.append(module.register_forward_hook(self._after(name)))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.taken[name, self.calls[name]] = [tensor.dtype for tensor in floating_inputs(module, args, kwargs)]
            self.calls[name] += 1
            self._inside.append(name)

        return note

    def _after(self, name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401 - whatever it gives
            self._inside.pop()
            self.given[name] = [tensor.dtype for tensor in tensors_in(output) if tensor.is_floating_point()]

        return note


def _is_floating(result: Any) -> bool:  # noqa: ANN401 - what an operation gives
    return any(each.is_floating_point() for each in tensors_in(result))


def floating_inputs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """Return the floating tensors that a module is given, those that it reads of its context too."""
    found = tensors_in((args, kwargs))
    context = context_in(args)
    if context is not None:
        change_context(context, module, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]  # notes it
    return [tensor for tensor in found if tensor.is_floating_point()]

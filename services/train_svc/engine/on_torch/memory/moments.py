"""An optimizer's moments in the host's memory."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

PORTION_BYTES = 2**27
"""Moments on the device at once."""
LEAST_BYTES = 4096
"""Smaller tensors, such as counters, stay on the device."""
Portion = tuple[dict[str, Any], list[torch.Tensor]]
"""A group of the optimizer, and some of its parameters."""


class HostMoments:
    """Keeps an optimizer's state in pinned memory of the host, and brings it to the device a portion at a time.

    Offloaded moments as in ZeRO-Offload (Ren et al. 2021, arXiv 2101.06840), but for where the step is made: on the
    device, so that any optimizer can make it. Nothing waits for the device; the step may be captured in a CUDA graph.
    State that is quantised is small, and stays. On a CPU nothing moves.

    Args:
        optimizer: its state is there already; it must decide on each parameter by itself.
        portion_bytes: moments on the device at once; a parameter with more is a portion by itself.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, portion_bytes: int = PORTION_BYTES) -> None:
        self._optimizer = optimizer
        self._portion_bytes = portion_bytes
        self._host: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
        self.gather()

    def gather(self) -> None:
        """Move the state to the host: at first, and after a checkpoint was read."""
        for parameter, state in self._optimizer.state.items():
            for slot in _slots(parameter, state):
                self._keep(parameter, slot, state[slot])

    def step(self, update: Callable[[], None]) -> None:
        """Make one step.

        Args:
            update: makes the optimizer's step for all parameters in its groups; it is called once a portion.
        """
        groups = self._optimizer.param_groups
        whole = [group["params"] for group in groups]
        portions = list(self._portions())
        try:
            for group, parameters in portions:
                self._optimizer.param_groups = [group]
                group["params"] = parameters
                self._bring(parameters)
                update()
                self._take_back(parameters)
        finally:
            self._optimizer.param_groups = groups
            for group, parameters in zip(groups, whole, strict=True):
                group["params"] = parameters

    def settle(self) -> None:
        """Wait until the state on the host is that of the last step: before it is read."""
        for device in {parameter.device for parameter in self._host}:
            torch.cuda.synchronize(device)

    def _portions(self) -> Iterator[Portion]:
        for group in self._optimizer.param_groups:
            portion, size = list[torch.Tensor](), 0
            for parameter in group["params"]:
                state = self._optimizer.state[parameter]
                own = sum(value.nbytes for value in state.values() if isinstance(value, torch.Tensor))
                if portion and size + own > self._portion_bytes:
                    yield group, portion
                    portion, size = [], 0
                portion.append(parameter)
                size += own
            if portion:
                yield group, portion

    def _bring(self, parameters: list[torch.Tensor]) -> None:
        for parameter in parameters:
            state = self._optimizer.state[parameter]
            for slot, host in self._host.get(parameter, {}).items():
                # Fused kernels walk moments and parameter alike, so that strides are kept.
                state[slot] = torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device=parameter.device)
                state[slot].copy_(host, non_blocking=True)

    def _take_back(self, parameters: list[torch.Tensor]) -> None:
        for parameter in parameters:
            for slot in self._host.get(parameter, {}):
                self._keep(parameter, slot, self._optimizer.state[parameter][slot])

    def _keep(self, parameter: torch.Tensor, slot: str, tensor: torch.Tensor) -> None:
        hosts = self._host.setdefault(parameter, {})
        if slot not in hosts:
            hosts[slot] = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, pin_memory=True)
        if tensor is not hosts[slot]:
            hosts[slot].copy_(tensor, non_blocking=True)
        self._optimizer.state[parameter][slot] = hosts[slot]


def _slots(parameter: torch.Tensor, state: dict[str, Any]) -> list[str]:
    tensors = {slot: value for slot, value in state.items() if isinstance(value, torch.Tensor)}
    if not parameter.is_cuda or any(not value.is_floating_point() for value in tensors.values()):
        return []
    return [slot for slot, value in tensors.items() if value.nbytes >= LEAST_BYTES]

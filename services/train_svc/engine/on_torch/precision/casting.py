"""The number format of a whole run: which one a device gives, and torch's own mixed precision in it."""

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, Literal

import torch

from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec.precision import Precision

Resolved = Literal["fp32", "tf32", "fp16", "bf16", "fp8"]
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.bfloat16, "fp32": torch.float32}
"""What activations are in; under fp8 all but the operands of large products are bf16."""
HALF = (torch.float16, torch.bfloat16)
FAST_BF16 = (8, 0)
"""First compute capability with units for bf16 and tf32."""
FAST_FP8 = (8, 9)
"""First compute capability with units for float8."""


def resolve(precision: Precision, device: torch.device | str) -> Resolved:
    """Return the number format of a run.

    Args:
        precision: as the user wants it; `auto` is bf16 where the card computes it fast, else fp32.
        device: where it runs.

    Raises:
        InvalidError: fp8 where the card has no units for it, or without torchao.
    """
    capability = torch.cuda.get_device_capability(device) if torch.device(device).type == "cuda" else (0, 0)
    if precision.name == "auto":
        return "bf16" if capability >= FAST_BF16 else "fp32"
    if precision.name == "tf32":
        return "tf32" if capability >= FAST_BF16 else "fp32"
    if precision.name == "fp8":
        _check_float8(capability)
    return precision.name


def autocast_of(precision: Precision | str, device: torch.device | str) -> AbstractContextManager[Any]:
    """Return the context in which a model computes: torch's autocast, or nothing for fp32 and tf32.

    Args:
        precision: what `resolve` gave, or what it takes.
        device: where it runs.
    """
    name = resolve(precision, device) if isinstance(precision, Precision) else precision
    if name in ("fp32", "tf32"):
        return nullcontext()
    return torch.autocast(torch.device(device).type, DTYPES[name])


def set_float32_products(precision: Resolved) -> None:
    """Set for the process whether float32 products and convolutions keep all bits, or 10 of them (tf32)."""
    short = precision == "tf32"
    torch.set_float32_matmul_precision("high" if short else "highest")
    torch.backends.cudnn.allow_tf32 = short


def _check_float8(capability: tuple[int, int]) -> None:
    if capability < FAST_FP8:
        card = f"a card of compute capability {'.'.join(map(str, capability))}" if any(capability) else "a CPU"
        message = f"fp8 needs an NVIDIA card of compute capability 8.9 or above, and this is {card}; use bf16"
        raise fault("precision.name", message)
    if find_spec("torchao") is None:
        raise fault("precision.name", "fp8 needs torchao, which is not installed; `pip install torchao`, or use bf16")

"""How many CPU threads a model is worth."""

import os

import torch
from torch.utils.flop_counter import FlopCounterMode

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.samples import sample_inputs

MOST = 8
OPERATIONS_A_THREAD = 2_000_000_000
"""Floating-point operations of a forward pass below which a further thread costs more than it brings: threads meet
after every layer, and on a busy machine each of them waits for the slowest."""


def forward_operations(description: Description, batch_size: int) -> int:
    """Return the floating-point operations of one forward pass, counted without doing it."""
    model = build(description, device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        given = sample_inputs(description, batch=batch_size)
        model(**{name: torch.from_numpy(array).to("meta") for name, array in given.items()})
    return int(counter.get_total_flops())


def choose_threads(description: Description, batch_size: int) -> int:
    """Return the threads for a model: a function of it, the batch and the cores that the process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    worth = 1 + forward_operations(description, batch_size) // OPERATIONS_A_THREAD
    return max(1, min(MOST, cores, worth))

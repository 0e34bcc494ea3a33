"""ONNX out of torch models, checked against what torch itself gives."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from services.common.errors import ModelwrightError
from services.train_svc.engine.building import Source, as_description, build
from services.train_svc.engine.weights import load_weights

OPSET = 20
"""ONNX operator set of every export."""
INPUT = "input"
OUTPUT = "logits"
BATCHES = (1, 2, 7)
"""Batch sizes at which the export is checked; 7 would show a batch that was baked in."""
RTOL = 1e-3
ATOL = 1e-4
"""Largest difference from torch, as in the package's golden check."""


class ExportError(ModelwrightError):
    """The exported model does not compute what the trained one does."""

    title = "Export failed"


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was exported."""

    opset: int
    """ONNX operator set."""
    size_bytes: int
    """Of the file."""
    largest_error: float
    """Largest absolute difference from torch over the checked batches."""


def export_onnx(source: Source, weights: str | Path, path: str | Path) -> Export:
    """Export a description with its weights as ONNX, with a dynamic batch.

    Args:
        source: a description, or the path of an `architecture.yaml`.
        weights: safetensors, as `save_weights` writes them.
        path: the ONNX file to write.

    Raises:
        InvalidError: the description or the weights are wrong.
        ExportError: ONNX Runtime's outputs differ from torch's.
    """
    description = as_description(source)
    model = load_weights(build(description), weights)
    return export_module(model, description.input_shape, Path(path))


def export_module(model: nn.Module, shape: tuple[int, ...], path: Path) -> Export:
    """Export a module that takes [batch, *shape] float32 and gives one tensor; see `export_onnx`."""
    model = model.cpu()
    was_training = model.training
    model.eval()
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                # Two samples: torch.export takes a size of one for a constant.
                (torch.zeros(2, *shape),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
        if program is None:
            raise ExportError("torch gave no ONNX program; this is a bug of its exporter")
        program.save(path, external_data=False)
        error = _check(model, shape, path)
    finally:
        model.train(was_training)
    return Export(opset=OPSET, size_bytes=path.stat().st_size, largest_error=error)


def _check(model: nn.Module, shape: tuple[int, ...], path: Path) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    chance = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch in BATCHES:
        inputs = torch.randn(batch, *shape, generator=chance)
        with torch.inference_mode():
            wanted = model(inputs).numpy()
        (got,) = session.run([OUTPUT], {INPUT: inputs.numpy()})
        error = float(np.abs(got - wanted).max())
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=RTOL, atol=ATOL):
            raise ExportError(
                f"the ONNX model differs from torch at batch {batch}: shape {got.shape}, wanted {wanted.shape}; "
                f"largest difference {error:.2g}, allowed {ATOL:g} + {RTOL:g} of the value"
            )
        largest = max(largest, error)
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    # The exporter tells of every pass, of torchvision, which is not needed, and of its own deprecations.
    loggers = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

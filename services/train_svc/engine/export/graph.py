"""A form as an ONNX file: traced by torch, its axes named, simplified, saved."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from onnxscript import ir

from services.common.errors import ModelwrightError
from services.train_svc.engine.export.forms import Form

OPSET = 20
"""ONNX operator set of every export."""


class ExportError(ModelwrightError):
    """The exported model does not compute what the trained one does."""

    title = "Export failed"


def write_graph(form: Form, path: Path) -> None:
    """Write the form as ONNX; weights of over 1.5 GiB go into `<path>.data` beside it.

    It is simplified by torch's own optimizer: constants folded, equal and unread nodes dropped, patterns rewritten. A
    pass of onnxslim after it found 1 to 3 of 100 nodes more (8 of 100 where pictures are cut: merged slices), none of
    which took time, and it needs the whole model in one protobuf, which ends at 2 GB; so it is not used.

    Raises:
        ExportError: torch cannot trace or translate it.
    """
    words = {word for axes in form.axes.values() for word in axes.values()}
    # From 2 on, so that torch may settle what differs for one alone (broadcasting); the check runs batches, steps and
    # times of 1 too, and caches of 0 frames.
    dims = {word: torch.export.Dim(word, min=2) for word in words}
    example = form.example()
    shapes = tuple({axis: dims[word] for axis, word in form.axes[name].items()} for name in example)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                form,
                tuple(example.values()),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=list(example),
                output_names=list(form.outputs),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch cannot export the model: {error.__cause__ or error}") from error
    if program is None:
        raise ExportError("torch gave no ONNX program; this is a bug of its exporter")
    _check_axes(program.model.graph, form)
    _drop_unread(program.model.graph, form)
    # Without the exporter's notes, which hold stack traces with the paths of this machine.
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    program.save(path, external_data=False)


def _drop_unread(graph: Any, form: Form) -> None:  # noqa: ANN401 - an onnx_ir graph
    given_out = set(graph.outputs)
    for value in list(graph.inputs):
        if value.name in form.optional and not value.uses() and value not in given_out:
            graph.inputs.remove(value)


def _check_axes(graph: Any, form: Form) -> None:  # noqa: ANN401 - an onnx_ir graph
    # Where torch cannot keep a size open, it goes on with the traced number.
    for value in graph.inputs:
        for axis, word in form.axes[value.name].items():
            if getattr(value.shape[axis], "value", value.shape[axis]) != word:
                raise ExportError(
                    f"the size {word!r} of the input {value.name!r} became {value.shape[axis]} in the graph; "
                    "some block computes with it in Python"
                )


@contextmanager
def _quiet() -> Iterator[None]:
    # The exporter tells of every pass, of torchvision, which is not needed, and of its own deprecations.
    names = ("torch.onnx._internal.exporter", "torch.fx.experimental.symbolic_shapes", "torch._guards", "onnx_ir",
             "onnxscript")  # fmt: skip
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

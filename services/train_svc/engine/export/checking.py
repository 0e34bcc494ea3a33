"""An ONNX file against the torch form that it was made of."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from services.train_svc.engine.export.forms import REFUSALS, Form, Plan, Tensors, calls
from services.train_svc.engine.export.graph import ExportError

BATCHES = (1, 2, 7)
"""Batch sizes at which the export is checked; 7 would show a batch that was baked in."""
RTOL = 1e-3
ATOL = 1e-4
"""Largest difference from torch, as in the package's golden check."""
Arrays = dict[str, npt.NDArray[np.generic]]
Call = tuple[Tensors, Tensors]
"""Samples of a call and torch's outputs."""
DTYPES = {"tensor(float)": "float32"}


@dataclass(frozen=True, kw_only=True)
class Port:
    """A tensor that goes into a graph or comes out."""

    name: str
    """In the graph."""
    dtype: str
    """NumPy's name of its type."""
    shape: tuple[int | str, ...]
    """Sizes, the batch first; a word is a size of any number."""


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ports(found: list[onnxruntime.NodeArg]) -> tuple[Port, ...]:
    """Return a session's inputs or outputs."""
    return tuple(
        Port(name=each.name, dtype=DTYPES.get(each.type, each.type[7:-1]), shape=tuple(each.shape)) for each in found
    )


def check_graph(form: Form, session: onnxruntime.InferenceSession, *, shapes_only: bool = False) -> float:
    """Return the largest difference from torch, over batches, sizes, and steps with the state of each side.

    Args:
        form: what was exported.
        session: of the graph.
        shapes_only: the form draws random numbers, so that its values differ from call to call.

    Raises:
        ExportError: it is too large.
    """
    largest, taken = 0.0, {each.name for each in session.get_inputs()}
    shapes = {each.name: tuple(each.shape) for each in session.get_outputs()}
    for trial, batch in enumerate(BATCHES):
        plan, state, wanted = _torch_calls(form, trial, batch)
        fed = {name: tensor.numpy() for name, tensor in state.items()}
        for sizes, (samples, outputs) in zip(plan, wanted, strict=True):
            feeds = fed | {name: tensor.numpy() for name, tensor in samples.items() if name in taken}
            where = ", ".join(f"{word} {size}" for word, size in {"batch": batch, **sizes}.items())
            got = dict(zip(form.outputs, _outputs(session, form.outputs, feeds, where), strict=True))
            for name, array in got.items():
                _check_shape(array.shape, outputs[name].shape, shapes[name], f"{name} at {where}")
                if not shapes_only:
                    largest = max(largest, _difference(array, outputs[name], f"{name} at {where}"))
            fed |= form.carried(got)  # type: ignore[arg-type]  # renames only
    return largest


def _outputs(
    session: onnxruntime.InferenceSession, names: tuple[str, ...], feeds: Arrays, where: str
) -> list[npt.NDArray[np.generic]]:
    try:
        outputs: list[npt.NDArray[np.generic]] = session.run(list(names), feeds)
    except Exception as error:  # ONNX Runtime raises several unrelated classes.
        raise ExportError(f"ONNX Runtime cannot run the ONNX model at {where}, which torch takes: {error}") from error
    return outputs


def _torch_calls(form: Form, trial: int, batch: int) -> tuple[Plan, Tensors, list[Call]]:
    *others, last = form.plans(trial)
    for plan in others:
        # Torch itself may not take such sizes, or make nothing of them.
        with suppress(*REFUSALS):
            start, made = _run(form, batch, plan)
            if all(tensor.numel() for _, outputs in made for tensor in outputs.values()):
                return plan, start, made
    return last, *_run(form, batch, last)


def _run(form: Form, batch: int, plan: Plan) -> tuple[Tensors, list[Call]]:
    state = start = form.start(batch, plan[0])
    made: list[Call] = []
    for samples in calls(form, batch, plan):
        given = state | samples
        with torch.inference_mode():
            outputs = dict(zip(form.outputs, form(*(given[name] for name in form.axes)), strict=True))
        state = state | form.carried(outputs)
        made.append((samples, outputs))
    return start, made


def _check_shape(got: tuple[int, ...], wanted: tuple[int, ...], stated: tuple[int | str, ...], what: str) -> None:
    fits = all(isinstance(size, str) or size == real for size, real in zip(stated, wanted, strict=True))
    if got != tuple(wanted) or not fits:
        raise ExportError(
            f"the ONNX model differs from torch: {what} has the shape {list(got)}, wanted {list(wanted)}; "
            f"the graph states {list(stated)}"
        )


def _difference(got: npt.NDArray[np.generic], tensor: torch.Tensor, what: str) -> float:
    wanted = tensor.numpy()
    # Equal infinities have no difference.
    away = np.where(got == wanted, 0.0, np.abs(got.astype(np.float64) - wanted))
    largest = float(away.max(initial=0.0))
    if not (away <= ATOL + RTOL * np.abs(wanted)).all():
        raise ExportError(
            f"the ONNX model differs from torch: {what} differs by {largest:.2g}, "
            f"allowed {ATOL:g} + {RTOL:g} of the value"
        )
    return largest

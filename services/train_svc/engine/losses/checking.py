"""Checks of a batch's targets by their values, on the host, before a device sees them.

On a device such checks would have to wait for it; there a label outside the classes is an assertion of a kernel, a
silent zero or not a number, as the engine likes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.losses.decoding import end_token
from services.train_svc.engine.losses.forms import FORMS, Shape, check_shapes, outputs_of
from services.train_svc.engine.losses.mixing import OTHER, sides
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import LossSpec

Array = npt.NDArray[Any]


def check_targets(spec: LossSpec, targets: Mapping[str, Array], output_shapes: Mapping[str, Shape]) -> None:
    """Check a batch's targets against what the model gives.

    Args:
        spec: the loss.
        targets: NumPy arrays by name, the batch first.
        output_shapes: shape of each output, the batch first; None where a size is not known.

    Raises:
        InvalidError: a target is missing, has the wrong shape, or holds what no output can match: a label outside the
            classes, blank as a label, a length beyond its axis, or too few frames for the labels, whose CTC loss would
            be infinite. The place and the value are named.
    """
    check_shapes(spec, output_shapes, {name: array.shape for name, array in targets.items()})
    if FORMS[spec.name][0].scores[0].endswith("..."):
        return
    shapes = [output_shapes[name] for name in outputs_of(spec, output_shapes)]
    for index, side in enumerate(sides(targets)):
        prefix = f"targets.{OTHER if index else ''}"
        _check_integers(side.targets, prefix)
        if "label_lengths" in FORMS[spec.name][0].targets:
            _check_sequences(spec, side.targets, shapes, prefix)
        else:
            classes = shapes[0][1 if spec.name == "segmentation" else -1]
            _check_labels(side.targets["labels"], side.targets["labels"] != spec.ignored, classes, prefix, spec.ignored)


def _check_integers(targets: Mapping[str, Array], prefix: str) -> None:
    for name in ("labels", "label_lengths", "frame_lengths"):
        if name in targets and targets[name].dtype.kind not in "iu":
            raise fault(prefix + name, f"got {targets[name].dtype} numbers, wanted whole ones, such as int64")


def _check_labels(labels: Array, counted: Array, classes: int | None, prefix: str, ignored: int | None = None) -> None:
    outside = counted & ((labels < 0) | (labels >= (np.inf if classes is None else classes)))
    if outside.any():
        place = np.argwhere(outside)[0].tolist()
        most = "" if classes is None else f" to {classes - 1}: the model has {classes} classes"
        rest = "" if ignored is None else f"; {ignored} is for places that count for nothing"
        raise fault(f"{prefix}labels", f"got {labels[tuple(place)]} at {place}, wanted 0{most}{rest}")


def _check_sequences(spec: LossSpec, targets: Mapping[str, Array], shapes: list[Shape], prefix: str) -> None:
    labels, lengths = targets["labels"], targets["label_lengths"]
    _check_lengths(lengths, labels.shape[1], f"{prefix}label_lengths", "labels")
    counted = np.arange(labels.shape[1]) < lengths[:, None]
    for shape in shapes:
        _check_labels(labels, counted, shape[-1], prefix)
    if spec.name != "attention":
        _check_blank(spec, labels, counted, shapes[0][-1], prefix)
        _check_lengths(targets["frame_lengths"], shapes[0][1], "targets.frame_lengths", "frames")
        _check_frames(spec, targets["frame_lengths"], lengths, (labels[:, 1:] == labels[:, :-1]) & counted[:, 1:])
    if "attention" in spec.name and shapes[-1][-1] is not None:
        _check_end(labels, counted, end_token(shapes[-1][-1]), prefix)


def _check_lengths(lengths: Array, most: int | None, path: str, what: str) -> None:
    wrong = (lengths < 0) | (lengths > (np.inf if most is None else most))
    if wrong.any():
        sample = int(np.argmax(wrong))
        bound = "at least 0" if most is None else f"0 to {most}: there are {most} {what}"
        raise fault(path, f"got {lengths[sample]} for sample {sample}, wanted {bound}")


def _check_blank(spec: LossSpec, labels: Array, counted: Array, classes: int | None, prefix: str) -> None:
    if classes is not None and spec.blank >= classes:
        raise fault("loss.blank", f"got {spec.blank}, wanted 0 to {classes - 1}: the model has {classes} tokens")
    blank = counted & (labels == spec.blank)
    if blank.any():
        place = np.argwhere(blank)[0].tolist()
        message = f"got {spec.blank} at {place}, which is blank and stands for nothing; leave it out, or set loss.blank"
        raise fault(f"{prefix}labels", message)


def _check_end(labels: Array, counted: Array, end: int, prefix: str) -> None:
    wrong = counted & (labels == end)
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        message = f"got {end} at {place}, which is the decoder's start and end token, the last of its vocabulary"
        raise fault(f"{prefix}labels", f"{message}; leave it out: the loss adds it")


def _check_frames(spec: LossSpec, frames: Array, lengths: Array, repeated: Array) -> None:
    # A transducer writes any number of labels in a frame; CTC one, and a blank between two that are the same.
    repeats = repeated.sum(1)
    needed = np.ones_like(lengths) if spec.name == "rnnt" else lengths + repeats
    short = frames < needed
    if short.any():
        sample = int(np.argmax(short))
        twice = f", {repeats[sample]} of them the same as the one before" if repeats[sample] else ""
        message = (
            f"sample {sample} has {frames[sample]} frames for {lengths[sample]} labels{twice}, wanted at least "
            f"{needed[sample]}: they cannot be aligned, and its loss would be infinite; leave the sample out, or give "
            "it more frames"
        )
        raise fault("targets.frame_lengths", message)

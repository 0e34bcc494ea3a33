"""What an iterable yields, in any of the usual forms, as a batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError
from services.train_svc.engine.batch import Batch

TARGETS = ("labels", "label_lengths", "frame_lengths", "other_labels", "other_label_lengths", "share")
"""Names that are targets in a mapping that does not say which are."""
IDS = "ids"
FORMS = "wanted (inputs, targets), a mapping by name, or a Batch"
PAIR = 2


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names for what comes without."""

    inputs: Sequence[str] = ("input",)
    """Of the inputs, in their order."""
    targets: Sequence[str] = ("labels",)
    """Of the targets, in their order."""


def as_array(value: Any) -> npt.NDArray[Any]:  # noqa: ANN401 - any array or tensor
    """Return a NumPy array of a tensor of any library, a list or a number.

    Whole numbers become int64 (bytes and truth values stay), fractions float32: what models take.

    Raises:
        TypeError, ValueError: it is no array of numbers.
    """
    array = np.asarray(_on_host(value))
    if array.dtype.kind not in "iufb":
        raise TypeError(f"has the type {array.dtype}, wanted numbers")
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    return array.astype(np.int64, copy=False) if array.dtype.kind in "iu" and array.dtype != np.uint8 else array


def _on_host(value: Any) -> Any:  # noqa: ANN401
    # NumPy reads no tensor of torch that needs a gradient, lies on a device, or is a bfloat16.
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        return value.numpy() if hasattr(value, "numpy") else value
    except TypeError:
        return value.float().numpy()


def as_batch(item: Any, number: int, names: Names) -> Batch:  # noqa: ANN401 - whatever an iterable yields
    """Return one item of an iterable as a batch.

    Args:
        item: a `Batch`; `(inputs, targets)`, each an array, a sequence of arrays or a mapping by name; a mapping with
            `inputs` and `targets`; or a mapping of all by name, in which `TARGETS` are the targets.
        number: of the batch, from 1, for messages.
        names: for what comes without.

    Raises:
        InvalidError: it is none of them, or a batch without samples, or its arrays differ in length.
    """
    try:
        batch = Batch(**_parts(item, names))
    except (TypeError, ValueError) as error:
        raise refuse(number, str(error)) from error
    check_batch(batch, number)
    return batch


def refuse(number: int, message: str) -> InvalidError:
    """Return the error of one batch."""
    return InvalidError(f"batch {number} of the data: {message}", field="data")


def check_batch(batch: Batch, number: int) -> None:
    """Check that a batch has samples, and as many in each of its arrays.

    Raises:
        InvalidError: it has not.
    """
    if not batch.inputs:
        raise refuse(number, "has no inputs; give at least one")
    arrays = dict(_arrays(batch))
    alone = [name for name, array in arrays.items() if not array.ndim]
    if alone:
        raise refuse(number, f"{', '.join(alone)} is a single number; the first axis must be the batch's")
    sizes = {name: len(array) for name, array in arrays.items()} | ({IDS: len(batch.ids)} if len(batch.ids) else {})
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise refuse(number, f"has different numbers of samples ({found}); each array must have all of them")
    if not len(batch):
        raise refuse(number, "is empty; leave it out")


def check_same(batch: Batch, names: set[str] | None, number: int) -> set[str]:
    """Return the names of a batch's arrays, which must be `names` if there are such.

    Raises:
        InvalidError: they differ.
    """
    found = {name for name, _ in _arrays(batch)}
    if names is not None and found != names:
        missing, more = ", ".join(sorted(names - found)), ", ".join(sorted(found - names))
        said = "; ".join(text for text in (missing and f"lacks {missing}", more and f"has {more} besides") if text)
        raise refuse(number, f"differs from the batches before it: {said}; all must have the same arrays")
    return found


def _arrays(batch: Batch) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for part, arrays in (("inputs", batch.inputs), ("targets", batch.targets), ("draws", batch.draws)):
        for name, array in arrays.items():
            yield f"{part}.{name}", array


def _parts(item: Any, names: Names) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(item, Batch):
        parts = {part: _named(getattr(item, part), ()) for part in ("inputs", "targets", "draws")}
        return parts | {IDS: item.ids}
    if isinstance(item, Mapping):
        return _mapped(item, names)
    if not isinstance(item, list | tuple):
        raise TypeError(f"is {type(item).__name__}; {FORMS}")
    if len(item) != PAIR:
        raise ValueError(f"is a {type(item).__name__} of {len(item)}; {FORMS}")
    return {"inputs": _named(item[0], names.inputs), "targets": _named(item[1], names.targets)}


def _mapped(item: Mapping[Any, Any], names: Names) -> dict[str, Any]:
    ids = [str(each) for each in item.get(IDS, ())]
    if "inputs" in item and "targets" in item:
        parts = {part: _named(item[part], getattr(names, part)) for part in ("inputs", "targets")}
        return parts | {IDS: ids}
    targets = {*TARGETS, *names.targets}
    arrays = _named({name: value for name, value in item.items() if name != IDS}, ())
    inputs = {name: array for name, array in arrays.items() if name not in targets}
    return {"inputs": inputs, "targets": {name: arrays[name] for name in arrays if name not in inputs}, IDS: ids}


def _named(value: Any, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:  # noqa: ANN401
    if isinstance(value, Mapping):
        given = {str(name): each for name, each in value.items()}
    elif isinstance(value, list | tuple) and value and all(hasattr(each, "shape") for each in value):
        if len(value) > len(names):
            raise ValueError(f"has {len(value)} arrays for {', '.join(names)}; give each its name, in a mapping")
        given = dict(zip(names, value, strict=False))
    else:
        given = {names[0]: value}
    return {name: _read(name, each) for name, each in given.items()}


def _read(name: str, value: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    try:
        return as_array(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: {error}") from error

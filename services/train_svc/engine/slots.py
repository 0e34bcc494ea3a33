"""What optimizer, clipping and loss scale remember: names and shapes, the same on both engines."""

from collections.abc import Mapping

from services.common.errors import InvalidError
from services.train_svc.engine.spec import OptimizerSpec

Shape = tuple[int, ...]
NAMED = 5
"""Faults that a message lists."""
SCALES = "_scale"
"""Ends the name of a slot that holds the scales of a moment of 8 bits; optimizers with whole moments pass over it."""


def factored_axes(shape: Shape) -> tuple[int, int] | None:
    """Return the two longest axes, in order, between which Adafactor splits second moments; None: there are no two.

    Not the last two: those of a convolution's kernel are 3 x 3, and splitting them saves nothing.
    """
    if len(shape) < 2:  # noqa: PLR2004 - two axes
        return None
    first, second = sorted(sorted(range(len(shape)), key=lambda axis: (-shape[axis], axis))[:2])
    return first, second


def slot_shapes(spec: OptimizerSpec, shape: Shape) -> dict[str, Shape]:
    """Return the shapes of a parameter's slots by name, in the canonical layout.

    Args:
        spec: which optimizer.
        shape: the parameter's.
    """
    if spec.name == "sgd":
        return {"momentum_buffer": shape} if spec.momentum else {}
    if spec.name == "lion":
        return {"exp_avg": shape}
    if spec.name == "adafactor":
        return {"step": (), **_second_moments(shape)}
    return {"step": (), "exp_avg": shape, "exp_avg_sq": shape}


def _second_moments(shape: Shape) -> dict[str, Shape]:
    axes = factored_axes(shape)
    if axes is None:
        return {"variance": shape}
    row, column = list(shape), list(shape)
    row[axes[1]] = column[axes[0]] = 1
    return {"row_var": tuple(row), "col_var": tuple(column)}


def check_slots(wanted: Mapping[str, Mapping[str, Shape]], given: Mapping[str, Shape]) -> None:
    """Check that a state fits an optimizer. A parameter that it does not mention has none yet.

    Args:
        wanted: shapes of the optimizer's slots, by parameter and slot.
        given: shapes of the state's tensors, by `<parameter>/<slot>`.

    Raises:
        InvalidError: a slot is unknown, missing, or has another shape.
    """
    faults, begun = [], dict[str, set[str]]()
    for key, shape in given.items():
        name, _, slot = key.rpartition("/")
        if slot.endswith(SCALES):
            continue
        begun.setdefault(name, set()).add(slot)
        expected = wanted.get(name, {}).get(slot)
        if expected is None:
            faults.append(f"{key} is unknown")
        elif expected != tuple(shape):
            faults.append(f"{key} is {list(shape)}, wanted {list(expected)}")
    faults += [
        f"{name}/{slot} is missing"
        for name, slots in begun.items()
        for slot in wanted.get(name, {})
        if slot not in slots
    ]
    if faults:
        more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        message = (
            f"the optimizer's state does not fit: {'; '.join(faults[:NAMED])}{more}. It is of another model or "
            "optimizer; go on with the one that it was saved from"
        )
        raise InvalidError(message, field="optimizer")


def check_memory(wanted: Mapping[str, Shape], given: Mapping[str, Shape], field: str) -> None:
    """Check that what clipping or the loss scale of another run remembered can be gone on with.

    Args:
        wanted: shapes by name.
        given: those of the other run.
        field: the setting that decides them.

    Raises:
        InvalidError: names or shapes differ.
    """
    if wanted != given:
        message = f"what the state remembers, {_listed(given)}, is of other settings; wanted {_listed(wanted)}"
        raise InvalidError(message, field=field)


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())) or "nothing"

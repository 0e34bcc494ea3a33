"""Which tensor of a call is which input."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.common.names import nearest
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.reading import fault


def bind(description: Description, inputs: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole model's inputs by name, those that were left out not among them.

    Args:
        description: whose inputs.
        inputs: tensors in the inputs' order.
        named: tensors by name; None: left out.

    Raises:
        InvalidError: there are too many, one is unknown or given twice, or one that is needed is missing.
    """
    known = description.inputs
    if len(inputs) > len(known):
        raise fault("inputs", f"got {len(inputs)} tensors, and {description.name} takes {', '.join(known)}")
    given = dict(zip(known, inputs, strict=False))
    for name in named:
        if name not in known:
            raise fault(name, f"is no input of {description.name}{nearest(name, known)}; known: {', '.join(known)}")
        if name in given:
            raise fault(name, "is given twice, by its place and by its name")
    given |= named
    for name, needed in known.items():
        if given.get(name) is None and not needed.optional and not needed.lengths_of:
            raise fault(name, f"is not given, and {description.name} needs it; known: {', '.join(known)}")
    # In the description's order: what is first flows into the body.
    return {name: given[name] for name in known if given.get(name) is not None}

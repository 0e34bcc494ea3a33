"""Published checkpoints' names of tensors into ours: how a template reads the weights of others."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from services.common.errors import InvalidError
from services.train_svc.engine.fitting import Shapes


@dataclass(frozen=True)
class Rule:
    """How the tensors whose names match are called here."""

    pattern: str
    """Regular expression of the whole published name."""
    names: tuple[str, ...]
    r"""Ours, with `\1` for what the pattern caught. Several: the tensor is cut along its first axis, in this order,
    as fused query, key and value are. None: it is left out, as what a model recomputes is. `gate[\2]` is a row of our
    `gate`: each expert of a mixture is published alone."""
    transpose: bool = False
    """It is stored [in, out] there."""
    same_as: str = ""
    """It is left out, and must equal our tensor of this name, which the model has in its place: tied matrices that a
    file holds twice."""


def rule(pattern: str, *names: str, transpose: bool = False, same_as: str = "") -> Rule:
    """Return a rule; see `Rule`."""
    return Rule(pattern, names, transpose, same_as)


def translate(tensors: Mapping[str, Any], rules: tuple[Rule, ...], wanted: Shapes, name: str) -> dict[str, Any]:
    """Return the tensors under our names; of the rules that match, the first whose names the model has counts.

    Args:
        tensors: published names to tensors, torch's or NumPy's.
        rules: of the template.
        wanted: our names to shapes; a tensor of as many numbers in other axes is reshaped.
        name: of the template, for errors.

    Raises:
        InvalidError: the template has no rules, none matches a name, or two tensors that the model ties differ.
    """
    if not rules:
        raise InvalidError(f"the template {name!r} has no key map for published weights", field="source")
    result: dict[str, Any] = {}
    twice: list[tuple[str, Any, str]] = []
    for key, tensor in tensors.items():
        matching = [(each, _renamed(each, key)) for each in rules if re.fullmatch(each.pattern, key)]
        if not matching:
            message = f"no rule of {name!r} knows the tensor {key!r}; are these weights of another architecture?"
            raise InvalidError(message, field="weights")
        # Two forms of a template may have one published name in two places; a rule without names leaves it out.
        found, names = next((pair for pair in matching if all(ours in wanted for ours in pair[1])), matching[0])
        twice += [(key, tensor, found.same_as)] if found.same_as else []
        result |= _cut(tensor.T if found.transpose and tensor.ndim > 1 else tensor, names, wanted)
    for key, tensor, ours in twice:
        if ours in result and not bool((tensor == result[ours]).all()):
            message = f"{key!r} differs from {ours!r}, and the model has one matrix for both; describe it with two"
            raise InvalidError(message, field="weights")
    return _stacked(result)


def _stacked(tensors: dict[str, Any]) -> dict[str, Any]:
    rows: dict[str, dict[int, Any]] = {}
    for name in [name for name in tensors if name.endswith("]")]:
        whole, _, index = name[:-1].partition("[")
        rows.setdefault(whole, {})[int(index)] = tensors.pop(name)
    for whole, found in rows.items():
        ordered = [found[index] for index in sorted(found)]
        # torch or NumPy, whichever made the rows, is loaded; both name it so.
        tensors[whole] = sys.modules[type(ordered[0]).__module__].stack(ordered)
    return tensors


def _renamed(found: Rule, key: str) -> list[str]:
    return [re.sub(found.pattern, ours, key) for ours in found.names]


def _cut(tensor: Any, names: list[str], wanted: Shapes) -> dict[str, Any]:  # noqa: ANN401
    if len(names) == 1:
        return {names[0]: _reshaped(tensor, wanted.get(names[0]))}
    heights = [wanted[each][0] if each in wanted else tensor.shape[0] // len(names) for each in names]
    ends = list(accumulate(heights))
    return {each: tensor[end - high : end] for each, high, end in zip(names, heights, ends, strict=True)}


def _reshaped(tensor: Any, shape: tuple[int, ...] | None) -> Any:  # noqa: ANN401
    other = shape is not None and len(tensor.shape) != len(shape) and math.prod(tensor.shape) == math.prod(shape)
    return tensor.reshape(shape) if other else tensor

"""Streams: chunk after chunk with the carried state gives what the whole recording gives under the same mask."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.train_svc.engine.architecture import Description
from tests.unit.train_svc.engine.parity import close, pair


def check_stream(
    description: Description,
    tmp_path: Path,
    *,
    frames: int,
    time: int,
    part: str = "",
    output: str = "",
    compiled: bool = False,
) -> None:
    """Assert it for both engines.

    Args:
        description: of the model; its first input is [time, features], and dropout must be 0.
        tmp_path: for the weights.
        frames: of the input that each step takes.
        time: of the whole input; the last step takes what is left.
        part: the part that steps; empty: the whole model.
        output: the named output that the part makes; empty: the only one.
        compiled: also with torch.compile and tf.function, which take their time.
    """
    import tensorflow as tf

    model, other = pair(description, tmp_path)
    name, given = next(iter(description.inputs.items()))
    chance = np.random.default_rng(3)
    x = chance.standard_normal((2, time, int(given.shape[1]))).astype(np.float32)
    wanted = whole(model, name, x, part, output)
    forms: list[tuple[str, Callable[..., Any]]] = [("eager", model.step)]
    if compiled:
        # One function steps every model, and torch compiles it for a few only.
        torch.compiler.reset()
        forms.append(("compiled", torch.compile(model.step, fullgraph=True, dynamic=True, backend="eager")))
    with torch.no_grad():
        for form, step in forms:
            state = model.initial_state(2, part=part)
            got = torch.cat(list(steps(step, state, torch.from_numpy(x), frames, part)), 1)
            close(got, wanted, f"torch's {form} stream")
    forms = [("eager", other.step), ("traced", tf.function(other.step, reduce_retracing=True))]
    for form, step in forms[: 1 + compiled]:
        state = other.initial_state(2, part=part)
        parts = [np.asarray(each) for each in steps(step, state, tf.convert_to_tensor(x), frames, part)]
        close(np.concatenate(parts, 1), wanted, f"TensorFlow's {form} stream")


def whole(model: torch.nn.Module, name: str, x: Any, part: str, output: str) -> torch.Tensor:
    """Return what a torch model makes of the whole input at once."""
    model.eval()
    with torch.no_grad():
        made = model.encode(part=part, **{name: torch.from_numpy(x)}) if part else model(torch.from_numpy(x))  # type: ignore[operator]  # its own method
    result: torch.Tensor = made[output] if output else made
    return result


def steps(step: Callable[..., Any], state: dict[str, Any], x: Any, frames: int, part: str = "") -> Iterator[Any]:
    """Yield the output of each step."""
    for begin in range(0, x.shape[1], frames):
        result, state = step(state, x[:, begin : begin + frames], part=part)
        yield result

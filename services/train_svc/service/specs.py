"""The training specification as the control plane sees it: checked by the engine, without loading torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CheckedSpec:
    """What is kept of a specification beside its text."""

    title: str
    """What runs are named after: the model's name, else its template."""
    engine: str
    seed: int
    params: dict[str, str]
    """Its leaves under dotted names, so that runs are found by `params.optimizer.lr = '0.003'`."""


def check_spec(spec: dict[str, Any]) -> CheckedSpec:
    """Have the engine check a specification.

    Raises:
        InvalidError: the engine names the fault and the nearest valid value.
    """
    # Here and not above: a service that only reads runs starts without the engine.
    from services.train_svc.engine.spec import TrainSpec  # noqa: PLC0415

    checked = TrainSpec.from_mapping(spec)
    # Dataset versions are pictures so far: what cannot learn from them is refused before it waits in a queue.
    checked.model.check_pictures()
    model = spec.get("model", "model")
    title = spec.get("model_name") or (model.get("template", "model") if isinstance(model, dict) else model)
    return CheckedSpec(title=str(title)[:100], engine=checked.engine, seed=checked.seed, params=dict(flatten(spec)))


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """Yield the leaves of a JSON object under dotted names; long ones are left to the specification itself."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flatten(part, f"{prefix}.{key}" if prefix else str(key))
    else:
        text = value if isinstance(value, str) else repr(value)
        if prefix and len(prefix) <= 250 and len(text) <= 500:  # noqa: PLR2004 - more is no longer searched for
            yield prefix, text

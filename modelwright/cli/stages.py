"""A lifecycle's stages in the words of their readers: figures, digests, addresses."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from modelwright.cli.text import number, seconds, short, size

if TYPE_CHECKING:
    from modelwright.client.stages import Stage

STATES = {"succeeded": "done"}
MAX_FIGURES = 4


def state(stage: "Stage") -> str:
    """Return the stage's state: done, reused, failed, running ..."""
    return STATES.get(stage.state, stage.state)


def progress(stage: "Stage") -> str:
    """Return how far a running stage is: percent, time left, its last word or why it waits."""
    if stage.state != "running":
        return ""
    if stage.job and stage.job.state == "queued":
        return stage.waiting_reason or f"waits at position {stage.job.queue_position}"
    percent = f"{stage.progress:.0%}" if stage.job else ""
    left = f"{seconds(stage.eta_s)} left" if stage.eta_s is not None else ""
    return ", ".join(part for part in (percent, left, stage.message) if part)


def figures(stage: "Stage") -> str:
    """Return what a stage found out, a line a finding."""
    if stage.error:
        return stage.error
    found = stage.result if isinstance(stage.result, dict) else {}
    readers = {"data": _data, "train": _train, "compress": _compress, "gate": _gate, "serve": _serve}
    return "\n".join(line for line in readers.get(stage.name, _other)(found) if line)


def digest(stage: "Stage") -> str:
    """Return the digest of what a stage made; those of variants stand with their figures, which may take many lines."""
    return "" if stage.name == "compress" else short(stage.digest)


def addresses(stage: "Stage") -> list[str]:
    """Return where the result of a stage answers."""
    found = stage.result if isinstance(stage.result, dict) else {}
    ends = _dicts(found.get("endpoints"))
    return [str(end[key]) for end in ends for key in ("rest_url", "grpc_address") if end.get(key)]


def _data(found: Mapping[str, Any]) -> list[str]:
    schema = found.get("schema")
    splits = schema.get("splits") if isinstance(schema, dict) else None
    labels = schema.get("labels") if isinstance(schema, dict) else None
    parts = [str(found.get("dataset", "")), f"{found.get('samples', 0)} samples", size(float(found.get("bytes") or 0))]
    if isinstance(labels, list):
        parts.append(f"{len(labels)} classes")
    shares = " / ".join(f"{name} {count}" for name, count in splits.items()) if isinstance(splits, dict) else ""
    return [", ".join(part for part in parts if part), shares]


def _train(found: Mapping[str, Any]) -> list[str]:
    return [
        ", ".join(part for part in (str(found.get("model", "")), str(found.get("run_id", ""))) if part),
        _metrics(found.get("metrics")),
    ]


def _compress(found: Mapping[str, Any]) -> list[str]:
    return [_variant(one) for one in _dicts(found.get("variants"))]


def _variant(one: Mapping[str, Any]) -> str:
    verdict = one.get("verdict")
    if isinstance(verdict, dict):
        word, reason = "pays" if verdict.get("pays") else "does not pay", verdict.get("reason")
    else:
        word, reason = str(verdict or "made"), one.get("reason")
    names = " ".join(part for part in (str(one.get("name", "")), short(str(one.get("digest") or ""))) if part)
    return f"{names}: {reason or word}"


def _gate(found: Mapping[str, Any]) -> list[str]:
    chosen = found.get("chosen")
    name = chosen.get("variant") if isinstance(chosen, dict) else ""
    bounds = "; ".join(map(str, found.get("bounds") or [])) or "no bounds"
    lines = [f"{name} has the best {found.get('prefer', '')} of those within {bounds}" if name else ""]
    for one in _dicts(found.get("candidates")):
        misses = "" if one.get("passes", True) else "; refused: " + "; ".join(map(str, one.get("misses") or []))
        lines.append(f"{one.get('variant', '')}: {_measured(one.get('figures'))}{misses}")
    return lines


def _measured(found: Any) -> str:  # noqa: ANN401 - decoded JSON
    if not isinstance(found, dict):
        return ""
    forms: dict[str, Callable[[float], str]] = {
        "accuracy": lambda value: f"accuracy {value:.2%}",
        "accuracy_drop": lambda value: f"drop {value:.2%}",
        "size_bytes": size,
        "p50_ms": lambda value: f"p50 {value:.3g} ms",
        "p99_ms": lambda value: f"p99 {value:.3g} ms",
        "speedup": lambda value: f"{value:.2f}x as fast",
    }
    return ", ".join(form(float(found[key])) for key, form in forms.items() if isinstance(found.get(key), int | float))


def _serve(found: Mapping[str, Any]) -> list[str]:
    name = str(found.get("deployment", ""))
    alias = f" as {found['alias']}" if found.get("alias") else ""
    return [f"{name} serves {found.get('model', '')}{alias}" if name else "", str(found.get("evidence", ""))]


def _other(found: Mapping[str, Any]) -> list[str]:
    plain = {key: value for key, value in found.items() if isinstance(value, int | float | str)}
    return [", ".join(f"{key} {number(value)}" for key, value in list(plain.items())[:MAX_FIGURES])]


def _metrics(found: Any) -> str:  # noqa: ANN401 - decoded JSON
    if not isinstance(found, dict):
        return ""
    plain = {key: value.get("value") if isinstance(value, dict) else value for key, value in found.items()}
    shown = [f"{key} {number(value)}" for key, value in plain.items() if isinstance(value, int | float)]
    return ", ".join(shown[:MAX_FIGURES])


def _dicts(found: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - decoded JSON
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

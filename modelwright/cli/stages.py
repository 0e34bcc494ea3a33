"""A lifecycle's stages in the words of their readers: figures, digests, addresses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelwright.cli.text import number, seconds, short, size

if TYPE_CHECKING:
    from modelwright.client.records import Stage

STATES = {"succeeded": "done"}
MAX_FIGURES = 4


def state(stage: "Stage") -> str:
    """Return the stage's state: done, reused, failed, running ..."""
    return STATES.get(stage.state, stage.state)


def progress(stage: "Stage") -> str:
    """Return how far a running stage is: percent, time left, its last word or why it waits."""
    if stage.state != "running":
        return ""
    job = stage.under_way
    parts = []
    if job.state == "running":
        parts.append(f"{job.progress:.0%}")
    if job.eta_s is not None:
        parts.append(f"{seconds(job.eta_s)} left")
    if job.state == "queued":
        parts.append(job.waiting_reason or f"waits at position {job.queue_position}")
    parts.append(job.message or (stage.live.message if stage.live else "") or stage.message)
    return ", ".join(part for part in parts if part)


def figures(stage: "Stage") -> str:
    """Return what a stage found out, a line a finding."""
    if stage.error:
        return stage.error
    found = stage.result if isinstance(stage.result, dict) else {}
    readers = {"data": _data, "train": _train, "compress": _compress, "gate": _gate, "serve": _serve}
    return "\n".join(line for line in readers.get(stage.name, _other)(found) if line)


def digest(stage: "Stage") -> str:
    """Return the digests of what a stage made, in the order of its figures."""
    found = stage.result if isinstance(stage.result, dict) else {}
    if stage.name == "compress":
        return "\n".join(short(str(one.get("digest") or "-")) for one in _dicts(found.get("variants")))
    chosen = found.get("chosen")
    if isinstance(chosen, dict):
        return short(str(chosen.get("digest", "")))
    return short(str(found.get("model_digest") or found.get("dataset_digest") or ""))


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
    raw = one.get("card")
    card: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    parts = [_metrics(card.get("metrics"))]
    drop = card.get("accuracy_drop")
    if isinstance(drop, dict) and drop.get("value") is not None:
        parts.append(f"drop {number(drop['value'])}")
    if card.get("size_bytes"):
        parts.append(size(float(card["size_bytes"])))
    fastest = min(_dicts(card.get("latency")), key=lambda row: row.get("p50_ms") or 0, default={})
    if fastest.get("p50_ms") is not None:
        parts.append(f"p50 {number(float(fastest['p50_ms']))} ms")
    verdict = one.get("verdict") or card.get("verdict")
    if isinstance(verdict, dict):
        parts.append("pays" if verdict.get("pays") else f"does not pay: {verdict.get('reason', '')}")
    elif verdict:
        parts.append(str(verdict))
    return f"{one.get('name', '')}: " + ", ".join(part for part in parts if part)


def _gate(found: Mapping[str, Any]) -> list[str]:
    chosen = found.get("chosen")
    lines = []
    if isinstance(chosen, dict):
        bounds = "; ".join(map(str, found.get("bounds") or []))
        lines.append(
            f"{chosen.get('variant', '')} chosen by {found.get('prefer', '')}" + (f" ({bounds})" if bounds else "")
        )
    for one in _dicts(found.get("candidates")):
        if not one.get("passes", True):
            lines.append(f"{one.get('variant', '')} refused: " + "; ".join(map(str, one.get("misses") or [])))
    return lines


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

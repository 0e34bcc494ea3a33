"""Packages of variants: the parent's, with another model, its own golden outputs and card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from services.common.packages import (
    Card,
    Golden,
    Interval,
    Latency,
    Metric,
    Package,
    Signature,
    Tolerance,
    Verdict,
    encode_json,
    package_digest,
    upload_package,
    write_package,
)
from services.common.storage import BlobStore
from services.compress_svc.engine.compression import Outcome
from services.compress_svc.tasks.remote import Made, Version

STEPS = {"int8": 128.0, "fp16": 1024.0}
"""Golden outputs may move by their range over this on another processor: a rounding turned the other way moves an
8-bit activation by one of 256 levels, and a float16 by one of 2048."""


def write_child(
    folder: Path,
    *,
    package: Package,
    version: Version,
    outcome: Outcome,
    lineage: Mapping[str, str],
    blobs: BlobStore,
) -> Made:
    """Write the variant's package, keep its files in the storage and return what is to be registered.

    The card keeps `lineage` (the compression and the dataset) beside the recipe, and what the card's own form has no
    place for: deviation on the golden inputs, the parent's figures, what the variant pays for.
    """
    outputs = {name: np.asarray(value) for name, value in outcome.golden_outputs.items()}
    write_package(
        folder,
        model=outcome.model,
        signature=_signature(package.signature, outcome),
        golden=Golden(inputs=package.golden.inputs, outputs=outputs),
        preprocess=package.preprocess.spec,
        labels=package.labels,
        card=_card(package, version, outcome, lineage),
    )
    path = folder / "card.json"
    card = json.loads(path.read_bytes())
    for key, value in outcome.card.items():
        card.setdefault(key, value)
    card["verdict"] = outcome.card["verdict"]
    path.write_bytes(encode_json(card))
    files = upload_package(folder, blobs)
    return Made(
        name=outcome.recipe.name,
        digest=package_digest(files),
        card=card,
        verdict="pays" if outcome.verdict.pays else "does not pay",
        reason=outcome.verdict.reason,
        files=tuple(files),
        signature_json=json.dumps(json.loads((folder / "signature.json").read_bytes())),
    )


def failed(outcome: Outcome) -> Made:
    """Return what is to be recorded of a variant that could not be made."""
    return Made(name=outcome.recipe.name, card=dict(outcome.card), reason=outcome.verdict.reason)


def _card(package: Package, version: Version, outcome: Outcome, lineage: Mapping[str, str]) -> Card:
    measured: Mapping[str, Any] = outcome.card
    drop = measured.get("accuracy_drop")
    return Card(
        name=version.name,
        variant=outcome.recipe.name,
        parent=version.digest,
        run=version.run_id or package.card.run,
        dataset=version.dataset_digest or package.card.dataset,
        recipe=outcome.recipe.to_mapping() | dict(lineage),
        metrics={name: Metric(**values) for name, values in measured.get("metrics", {}).items()},
        latency=tuple(Latency(**values) for values in measured["latency"]),
        accuracy_drop=Interval(**{key: drop[key] for key in ("value", "ci_low", "ci_high")}) if drop else None,
        size_ratio=measured["size_ratio"],
        speedup=measured["speedup"],
        verdict=Verdict(pays=outcome.verdict.pays, reason=outcome.verdict.reason),
    )


def _signature(parent: Signature, outcome: Outcome) -> Signature:
    """Return the parent's signature with a tolerance that fits the variant's number format."""
    steps = STEPS.get(outcome.recipe.kind)
    if steps is None:
        return parent
    values = [np.abs(np.asarray(value)).max(initial=0.0) for value in outcome.golden_outputs.values()]
    atol = max(parent.golden.atol, float(max(values)) / steps)
    return msgspec.structs.replace(parent, golden=Tolerance(rtol=max(parent.golden.rtol, 1.0 / steps), atol=atol))

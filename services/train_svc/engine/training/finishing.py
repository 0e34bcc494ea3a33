"""What a run leaves: its model, evaluated and packed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.common.errors import InvalidError
from services.common.packages import Metric, Package
from services.common.preprocess import Preprocess
from services.train_svc.engine.augment.scaling import factors
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.engines import engine_of
from services.train_svc.engine.packaging import GOLDEN_SAMPLES, Trained, pack
from services.train_svc.engine.training.judging import Judged
from services.train_svc.engine.training.run import Run

TEST, VALIDATION = "test", "validation"
LOW, HIGH = "_ci_low", "_ci_high"


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a model comes from."""

    name: str = "model"
    """Under which it is registered."""
    run_id: str = ""
    """The run that made it."""
    dataset_digest: str = ""
    """What it learnt from."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished run leaves."""

    package: Package
    """The model package, written."""
    metrics: dict[str, float]
    """Measured on `split`."""
    card: dict[str, Metric]
    """Those of them that have a confidence interval, as the report card holds them."""
    split: str
    """The split it was measured on."""


def split_tested(run: Run) -> str:
    """Return the split that the final figures are measured on: test, or validation where there is none.

    Raises:
        InvalidError: there is neither.
    """
    for split in (TEST, VALIDATION):
        if split in run.material.evaluated or (split == VALIDATION and run.material.data.validation is not None):
            return split
    raise InvalidError("there is neither a 'test' nor a 'validation' split to evaluate on", field="data.split")


def export_run(run: Run, folder: Path, lineage: Lineage, split: str, judged: Judged) -> Outcome:
    """Write the package of a run's model into `folder`.

    Args:
        run: it is over.
        folder: where the package is written.
        lineage: where the model comes from.
        split: what it was evaluated on.
        judged: what that found.

    Raises:
        InvalidError: the model is a user's own, which has no description to pack.
        ExportError: the ONNX model does not compute what the engine does.
    """
    description = run.material.description
    if description is None:
        message = "a model of your own has no description, so it is not packed; its weights are in the checkpoints"
        raise InvalidError(message, field="model")
    card = card_metrics(judged.metrics, split, judged.samples)
    trained = Trained(
        name=lineage.name,
        description=description,
        weights=engine_of(run.model).tensors.named_tensors(run.model),
        preprocess=Preprocess(list(run.material.preprocess)),
        labels=run.material.labels,
        samples=_inputs(run, next(iter(run.batches(split)))),
        metrics=card,
        run_id=lineage.run_id,
        dataset_digest=lineage.dataset_digest,
        recipe=run.spec.to_data(),
    )
    return Outcome(package=pack(trained, folder), metrics=judged.metrics, card=card, split=split)


def card_metrics(metrics: dict[str, float], split: str, samples: int) -> dict[str, Metric]:
    """Return the metrics that have a confidence interval, as a report card holds them."""
    names = [name for name in metrics if f"{name}{LOW}" in metrics]
    return {
        name: Metric(
            value=metrics[name],
            ci_low=metrics[f"{name}{LOW}"],
            ci_high=metrics[f"{name}{HIGH}"],
            samples=samples,
            split=split,
        )
        for name in names
    }


def _inputs(run: Run, batch: Batch) -> dict[str, np.ndarray]:
    # As the package's own preprocessing makes them, so that a replay from raw bytes gives the same numbers.
    factor, offset = factors(run.material.scaling)
    return {
        name: array[:GOLDEN_SAMPLES].astype(np.float32) * factor + offset
        if array.dtype == np.uint8
        else array[:GOLDEN_SAMPLES]
        for name, array in batch.inputs.items()
    }

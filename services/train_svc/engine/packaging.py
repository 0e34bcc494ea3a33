"""The trained model as a package: a folder whose digest names the version."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.common.packages import (
    Card,
    Golden,
    Metric,
    Package,
    Signature,
    TensorSpec,
    Tolerance,
    datatype_of,
    write_package,
)
from services.common.packages.signature import DYNAMIC
from services.common.preprocess import Preprocess
from services.train_svc.engine.architecture import Description, to_yaml
from services.train_svc.engine.export import ATOL, RTOL, Export, Port, export_model
from services.train_svc.engine.on_torch import Model, build_torch
from services.train_svc.engine.on_torch.calling import call, output_name
from services.train_svc.engine.on_torch.tensors import fill
from services.train_svc.engine.weights import save_weights

GOLDEN_SAMPLES = 8
Arrays = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that is ready to be packed."""

    name: str
    """Under which it is registered."""
    description: Description
    """What it is."""
    weights: Arrays
    """Its final weights by canonical name, of either engine."""
    preprocess: Preprocess
    """What its inputs went through."""
    labels: Sequence[str]
    """Classes, or characters, in the order of its scores."""
    samples: Arrays
    """Inputs of some evaluated samples, preprocessed; the first become the golden ones."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """What was measured of it."""
    run_id: str = ""
    """The run that made it."""
    dataset_digest: str = ""
    """What it learnt from."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The training spec, every default written out."""


def pack(trained: Trained, folder: Path) -> Package:
    """Write the package into `folder`, which is made, and return it as read back.

    Raises:
        ExportError: the ONNX model does not compute what torch does.
    """
    model = build_torch(trained.description).eval()
    fill(model, {name: torch.as_tensor(array) for name, array in trained.weights.items()}, "the trained model")
    with tempfile.TemporaryDirectory() as scratch:
        onnx, weights = Path(scratch) / "model.onnx", Path(scratch) / "weights.safetensors"
        exported = export_model(model, onnx)
        save_weights(model, weights)
        return write_package(
            folder,
            model=onnx,
            weights=weights,
            signature=_signature(exported),
            golden=_golden(model, exported, trained.samples),
            preprocess=trained.preprocess.spec,
            labels=list(trained.labels),
            architecture=to_yaml(trained.description),
            card=_card(trained, exported),
        )


def _golden(model: Model, exported: Export, samples: Arrays) -> Golden:
    names = [port.name for port in exported.inputs]
    inputs = {name: np.ascontiguousarray(samples[name][:GOLDEN_SAMPLES]) for name in names}
    with torch.inference_mode():
        given = {name: torch.from_numpy(array) for name, array in inputs.items()}
        made = call(model, given, output_name(model))
    return Golden(inputs=inputs, outputs={port.name: made[port.name].numpy() for port in exported.outputs})


def _signature(exported: Export) -> Signature:
    return Signature(
        inputs=tuple(map(_tensor, exported.inputs)),
        outputs=tuple(map(_tensor, exported.outputs)),
        golden=Tolerance(rtol=RTOL, atol=ATOL),
    )


def _tensor(port: Port) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else DYNAMIC for size in port.shape)
    return TensorSpec(name=port.name, datatype=datatype_of(np.dtype(port.dtype)), shape=shape)


def _card(trained: Trained, exported: Export) -> Card:
    return Card(
        name=trained.name,
        variant="trained",
        run=trained.run_id,
        dataset=trained.dataset_digest,
        recipe={"train": dict(trained.recipe), "opset": exported.opset},
        metrics=dict(trained.metrics),
    )

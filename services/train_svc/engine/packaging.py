"""The trained model as a package: a folder whose digest names the version."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from services.common.packages import Card, Golden, Metric, Package, Signature, TensorSpec, Tolerance, write_package
from services.common.preprocess import Preprocess
from services.train_svc.engine.architecture import Description, to_yaml
from services.train_svc.engine.evaluation import Evaluation
from services.train_svc.engine.export import ATOL, INPUT, OUTPUT, RTOL, Export, export_module
from services.train_svc.engine.pictures import Split
from services.train_svc.engine.reading import fault
from services.train_svc.engine.weights import save_weights

GOLDEN_SAMPLES = 8
MODES = {1: "L", 3: "RGB"}
"""Channels of a picture to how it is decoded."""
AXES = 3


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that is ready to be packed."""

    name: str
    """Under which it is registered."""
    description: Description
    """What it is."""
    model: nn.Module
    """With its final weights."""
    preprocess: Preprocess
    """What its inputs went through."""
    labels: list[str]
    """Classes, in the order of its scores."""
    evaluation: Evaluation
    """On `split`."""
    split: str
    """What it was measured on."""
    run_id: str = ""
    """The run that made it."""
    dataset_digest: str = ""
    """What it learnt from."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The training spec, every default written out."""


def pack(trained: Trained, samples: Split, folder: Path) -> Package:
    """Write the package into `folder`, which is made, and return it as read back.

    Args:
        trained: what to pack.
        samples: a split whose first pictures become the golden inputs.
        folder: where.

    Raises:
        ExportError: the ONNX model does not compute what torch does.
    """
    with tempfile.TemporaryDirectory() as scratch:
        model, weights = Path(scratch) / "model.onnx", Path(scratch) / "weights.safetensors"
        exported = export_module(trained.model, trained.description.input_shape, model)
        save_weights(trained.model, weights)
        return write_package(
            folder,
            model=model,
            weights=weights,
            signature=_signature(trained.description),
            golden=_golden(trained, samples),
            preprocess=trained.preprocess.spec,
            labels=trained.labels,
            architecture=to_yaml(trained.description),
            card=_card(trained, exported),
        )


def decode_step(description: Description) -> dict[str, Any]:
    """Return the preprocessing step that makes pictures of the size that the model takes.

    Raises:
        InvalidError: it takes no pictures of 1 or 3 channels.
    """
    if len(description.input_shape) != AXES or description.input_shape[0] not in MODES:
        message = f"the model takes {list(description.input_shape)}, wanted [1 or 3 channels, height, width]"
        raise fault("train.model", message)
    channels, height, width = description.input_shape
    return {"decode_image": {"mode": MODES[channels], "height": height, "width": width}}


def _golden(trained: Trained, samples: Split) -> Golden:
    # Through the package's own preprocessing, so that a replay from raw bytes gives the same numbers.
    inputs = trained.preprocess.finish(samples.pictures(np.arange(min(GOLDEN_SAMPLES, len(samples)))))
    trained.model.cpu().eval()
    with torch.inference_mode():
        outputs = trained.model(torch.from_numpy(inputs))
    return Golden(inputs={INPUT: inputs}, outputs={OUTPUT: outputs.numpy()})


def _signature(description: Description) -> Signature:
    return Signature(
        inputs=(TensorSpec(name=INPUT, datatype="FP32", shape=(-1, *description.input_shape)),),
        outputs=(TensorSpec(name=OUTPUT, datatype="FP32", shape=(-1, *description.output_shape)),),
        golden=Tolerance(rtol=RTOL, atol=ATOL),
    )


def _card(trained: Trained, exported: Export) -> Card:
    return Card(
        name=trained.name,
        variant="trained",
        run=trained.run_id,
        dataset=trained.dataset_digest,
        recipe={"train": trained.recipe, "opset": exported.opset},
        metrics={"accuracy": Metric(**trained.evaluation.card_entry(trained.split))},
    )

"""The trained model as a package: a folder whose digest names the version."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

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
from services.train_svc.engine.evaluation import Evaluation
from services.train_svc.engine.export import ATOL, RTOL, Export, Port, export_model
from services.train_svc.engine.on_torch import Model
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
    assert isinstance(trained.model, Model), "`build` makes what is trained"
    with tempfile.TemporaryDirectory() as scratch:
        model, weights = Path(scratch) / "model.onnx", Path(scratch) / "weights.safetensors"
        exported = export_model(trained.model, model)
        save_weights(trained.model, weights)
        return write_package(
            folder,
            model=model,
            weights=weights,
            signature=_signature(exported),
            golden=_golden(trained, exported, samples),
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


def _golden(trained: Trained, exported: Export, samples: Split) -> Golden:
    # Through the package's own preprocessing, so that a replay from raw bytes gives the same numbers.
    inputs = trained.preprocess.finish(samples.pictures(np.arange(min(GOLDEN_SAMPLES, len(samples)))))
    trained.model.cpu().eval()
    with torch.inference_mode():
        outputs = trained.model(torch.from_numpy(inputs))
    (given,), (made,) = exported.inputs, exported.outputs
    return Golden(inputs={given.name: inputs}, outputs={made.name: outputs.numpy()})


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
        recipe={"train": trained.recipe, "opset": exported.opset},
        metrics={"accuracy": Metric(**trained.evaluation.card_entry(trained.split))},
    )

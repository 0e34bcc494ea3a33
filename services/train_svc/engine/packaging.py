"""The trained model as a package: a folder whose digest names the version."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from services.train_svc.engine.architecture import Description, to_yaml
from services.train_svc.engine.evaluation import Evaluation
from services.train_svc.engine.export import ATOL, INPUT, OUTPUT, RTOL, Export, export_module
from services.train_svc.engine.pictures import Normalization, Split
from services.train_svc.engine.weights import save_weights

GOLDEN_SAMPLES = 8
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that is ready to be packed."""

    name: str
    """Under which it is registered."""
    description: Description
    """What it is."""
    model: nn.Module
    """With its final weights."""
    normalization: Normalization
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


def write_package(trained: Trained, samples: Split, folder: Path) -> Export:
    """Write the package's files into `folder`, an empty one.

    Args:
        trained: what to pack.
        samples: a split whose first pictures become the golden inputs.
        folder: where.

    Raises:
        ExportError: the ONNX model does not compute what torch does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exported = export_module(trained.model, trained.description.input_shape, folder / "model.onnx")
    save_weights(trained.model, folder / "weights.safetensors")
    _write_golden(trained, samples, folder / "golden.npz")
    (folder / "architecture.yaml").write_text(to_yaml(trained.description), "utf-8")
    (folder / "preprocess.yaml").write_text(yaml.safe_dump(_preprocess(trained), sort_keys=False), "utf-8")
    for name, content in (
        ("signature.json", _signature(trained.description)),
        ("labels.json", trained.labels),
        ("card.json", _card(trained, exported)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")
    return exported


def _write_golden(trained: Trained, samples: Split, path: Path) -> None:
    pictures = samples.pictures(np.arange(min(GOLDEN_SAMPLES, len(samples))))
    inputs = trained.normalization.apply(torch.from_numpy(pictures))
    trained.model.cpu().eval()
    with torch.inference_mode():
        outputs = trained.model(inputs)
    arrays = {f"input:{INPUT}": inputs.numpy(), f"output:{OUTPUT}": outputs.numpy()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _signature(description: Description) -> dict[str, Any]:
    return {
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *description.input_shape]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, *description.output_shape]}],
        "golden": {"rtol": RTOL, "atol": ATOL},
    }


def _preprocess(trained: Trained) -> list[dict[str, Any]]:
    channels, height, width = trained.description.input_shape
    norm = trained.normalization
    return [
        {"decode_image": {"mode": "L" if channels == 1 else "RGB", "height": height, "width": width}},
        {"normalize": {"mean": list(norm.mean), "std": list(norm.std)}},
    ]


def _card(trained: Trained, exported: Export) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": trained.name,
        "variant": "trained",
        "parent": None,
        "run": trained.run_id,
        "dataset": trained.dataset_digest,
        "recipe": {"train": trained.recipe, "opset": exported.opset},
        "metrics": {"accuracy": trained.evaluation.card_entry(trained.split)},
        "size_bytes": exported.size_bytes,
        "latency": [],
    }

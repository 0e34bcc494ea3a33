"""Random weights with which what a deep network gives depends on its input, as with trained ones.

With weights drawn at random and batch norms that never saw them, a network of many narrow layers gives one and the same
output for every picture, and two such networks agree whatever is wrong in their first layers.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.weights import load_weights, save_weights

GAIN = 10.0
"""Of kernels before a batch norm, which undoes it: what a test adds to all weights is then small beside them."""
BATCH = 8


def calibrated(model: nn.Module, description: Description) -> nn.Module:
    """Return the model with random weights whose batch norms know them, in evaluation; its dropout must be 0."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is None:
                layer.weight.data *= GAIN
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.5)
            # Without a momentum the running averages are the plain ones of what it saw.
            layer.reset_running_stats()
            layer.momentum = None
    with torch.no_grad():
        model.train()(torch.from_numpy(sample_inputs(description, batch=BATCH)["input"]))
    return model.eval()


def calibrated_pair(description: Description, tmp_path: Path) -> tuple[Any, Any]:
    """Return a torch and a TensorFlow model of such weights."""
    model = calibrated(build(description), description)
    save_weights(model, tmp_path / "w.safetensors")
    return model, load_weights(build(description, engine="tensorflow"), tmp_path / "w.safetensors")

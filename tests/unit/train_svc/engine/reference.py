"""Our models against an independent implementation's, from the same weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.weights import load_weights
from tests.unit.train_svc.engine.parity import close, on_torch, outputs_of

TOLERANCE = 2e-5
"""Of outputs, float32, relative to the largest value of each tensor."""
SEEN = 1e-3
"""By how much two samples' outputs differ at least, relative to the largest value."""


def stirred(model: nn.Module) -> nn.Module:
    """Return a model whose zeros and ones are random too, in evaluation."""
    torch.manual_seed(1)
    with torch.no_grad():
        # What is not saved, such as angles of rotation, is computed and stays.
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_((torch.rand_like(tensor) - 0.5) * 0.2)
    return model.eval()


def depends_on_input(tensor: torch.Tensor, what: str) -> None:
    """Assert that the samples of a batch give different outputs: otherwise any two models agree."""
    if tensor.is_floating_point() and len(tensor) > 1:
        apart = (tensor[0] - tensor[1]).abs().max() / tensor.abs().max()
        assert apart > SEEN, f"{what} hardly depends on the input: samples differ by {apart:.2g} of the largest value"


def check_huggingface(
    published: nn.Module,
    description: Description,
    tmp_path: Path,
    *,
    inputs: Mapping[str, str],
    outputs: Callable[[Any], Mapping[str, torch.Tensor]],
    **sizes: int,
) -> None:
    """Assert that both engines give what Hugging Face's model gives, with its weights read by the key map.

    Args:
        published: the model, with random weights.
        description: ours.
        tmp_path: for the weights.
        inputs: our inputs' names to theirs.
        outputs: turns their result into ours by name.
        sizes: numbers for the sizes that are words.
    """
    stirred(published)
    path = tmp_path / "model.safetensors"
    # Their own names, tied tensors once.
    published.save_pretrained(tmp_path)  # type: ignore[operator]  # transformers' method
    given = sample_inputs(description, sizes=sizes)
    feed = on_torch({theirs: given[ours] for ours, theirs in inputs.items()})
    with torch.no_grad():
        wanted = outputs(published(**feed))
    for name, tensor in wanted.items():
        depends_on_input(tensor, f"the published {name}")
    used = {name: given[name] for name in inputs}
    model = load_weights(build(description), path, source="huggingface").eval()
    with torch.no_grad():
        for name, tensor in outputs_of(model(**on_torch(used))).items():
            close(tensor, wanted[name], f"torch's {name}", TOLERANCE)
    other = load_weights(build(description, engine="tensorflow"), tmp_path, source="huggingface")
    for name, tensor in outputs_of(other(used)).items():
        close(tensor, wanted[name], f"TensorFlow's {name}", TOLERANCE)

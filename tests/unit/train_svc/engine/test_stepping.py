from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Residual
from services.train_svc.engine.architecture.blocks.convolution import Conv1d
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear
from services.train_svc.engine.architecture.blocks.positions import (
    LearnedPositions,
    RelativeBias,
    SinusoidalPositions,
)
from services.train_svc.engine.building import build
from services.train_svc.engine.samples import Arrays, sample_inputs
from services.train_svc.engine.stepping import state_specs
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import close, on_torch, pair

SOURCE, TARGET = 9, 8


def translator(*, padding: str = "mask") -> Description:
    """Return a small encoder-decoder with everything that carries a state."""
    lengths = padding == "lengths"
    given = Input(shape=() if lengths else ("source",), dtype="int64" if lengths else "bool", optional=True,
                  lengths_of="sources" if lengths else "")  # fmt: skip
    encoder = Part(
        name="encoder", input="sources", output="memory", **({padding: padding} if padding else {}),
        body=(Embedding(vocab_size=11, features=8), SinusoidalPositions(),
              Conv1d(out_features=8, stride=1 + lengths, mask_padding=True)),
    )  # fmt: skip
    decoder = Part(
        name="decoder", input="targets",
        body=(
            Embedding(vocab_size=11, features=8),
            LearnedPositions(length=20),
            RelativeBias(value="bias", heads=2, buckets=6, max_distance=5, bidirectional=False, init_std=1.0),
            Residual(name="attend", body=(Attention(heads=2, causal=True, bias_from="bias"),)),
            Residual(name="cross", body=(Attention(heads=2, memory="memory"),)),
            Conv1d(out_features=8, causal=True),
            Linear(name="scores", out_features=11),
        ),
    )  # fmt: skip
    tokens = {name: Input(shape=(f"{name[:-1]}",), dtype="int64", below=11) for name in ("sources", "targets")}
    return Description(name="translator", inputs=tokens | ({padding: given} if padding else {}),
                       typical={"source": SOURCE, "target": TARGET}, body=(encoder, decoder))  # fmt: skip


def in_steps(model: Any, inputs: Arrays) -> Any:
    """Return the logits of a decoding loop that takes the targets one by one."""
    torch_like = isinstance(model, nn.Module)
    tensors: dict[str, Any] = dict(on_torch(inputs) if torch_like else inputs)
    targets = tensors.pop("targets")
    memory = model.encode(**tensors) if torch_like else model.encode(tensors)
    state, outputs = model.initial_state(len(targets), part="decoder", **memory), list[Any]()
    for place in range(targets.shape[1]):
        logits, state = model.step(state, targets[:, place : place + 1], part="decoder")
        outputs.append(np.asarray(logits))
    return np.concatenate(outputs, 1)


@pytest.mark.parametrize("padding", ["mask", "lengths", ""])
def test_a_decoding_loop_gives_what_the_whole_pass_gives(padding: str, tmp_path: Path) -> None:
    check_decoding(translator(padding=padding), tmp_path, part="decoder", source=SOURCE, target=TARGET)


def test_padding_of_the_source_changes_nothing_in_a_decoding_loop(tmp_path: Path) -> None:
    model, other = pair(translator(padding="mask"), tmp_path)
    inputs = sample_inputs(model.description, seed=3)
    inputs["mask"] = np.arange(SOURCE)[None] < np.array([[SOURCE], [5]])
    shorter = {"sources": inputs["sources"][1:, :5], "targets": inputs["targets"][1:]}
    with torch.no_grad():
        wanted = model.eval()(**on_torch(shorter))
        close(in_steps(model, inputs)[1:], wanted, "torch with padding")
    close(in_steps(other, inputs)[1:], wanted, "TensorFlow with padding")


def test_the_state_names_the_memories_mask_where_the_model_knows_padding() -> None:
    specs = state_specs(translator(), "decoder")
    assert specs["memory_mask"].constant
    assert specs["memory_mask"].dtype == "bool"
    assert "memory_mask" not in state_specs(translator(padding=""), "decoder")
    model = build(translator())
    state = model.initial_state(2, part="decoder", memory=torch.zeros(2, 4, 8))
    assert state.keys() == specs.keys()
    assert state["memory_mask"].all()


def test_a_missing_memory_is_named() -> None:
    model = build(translator())
    with pytest.raises(InvalidError, match="memory: is not given, and decoder looks at it"):
        model.initial_state(2, part="decoder")
    with pytest.raises(InvalidError, match="memori: is nothing that decoder looks at"):
        model.initial_state(2, part="decoder", memory=torch.zeros(2, 4, 8), memori=torch.zeros(2, 4, 8))
    with pytest.raises(InvalidError, match="no part 'decoda'"):
        model.initial_state(2, part="decoda")


class Step(nn.Module):
    """One step as a module, as an exporter needs it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, state: dict[str, torch.Tensor]) -> Any:
        return self.model.step(state, tokens, part="decoder")


def test_a_step_exports_with_every_size_open_and_serves_every_step() -> None:
    model = build(translator()).eval()
    inputs = on_torch(sample_inputs(model.description))
    memory = model.encode(inputs["sources"], mask=inputs["mask"])
    state = model.initial_state(2, part="decoder", **memory)
    example = model.step(state, inputs["targets"][:, :3], part="decoder")[1]
    specs, auto = state_specs(model.description, "decoder"), torch.export.Dim.AUTO
    sizes = {
        name: {axis: auto for axis, size in enumerate(([None] if spec.per_sample else []) + [*spec.shape])
               if size is None}
        for name, spec in specs.items()
    }  # fmt: skip
    program = torch.export.export(
        Step(model), (inputs["targets"][:, 3:5], example), dynamic_shapes=({0: auto, 1: auto}, sizes), strict=False
    )
    other = on_torch(sample_inputs(model.description, batch=3, sizes={"source": 12, "target": 11}, seed=5))
    memory = model.encode(other["sources"], mask=other["mask"])
    state = model.initial_state(3, part="decoder", **memory)
    step, outputs = program.module(), list[torch.Tensor]()
    for tokens in other["targets"].split((3, 1, 5, 2), 1):
        logits, state = step(tokens, state) if outputs else model.step(state, tokens, part="decoder")
        outputs.append(logits)
    close(torch.cat(outputs, 1).detach(), model(**other).detach(), "the exported steps")

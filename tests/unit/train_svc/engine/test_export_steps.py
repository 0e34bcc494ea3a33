"""Decoding loops and streams run by ONNX Runtime alone, against torch's model on the whole input."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from modelwright.train import build, describe, export_onnx, load_weights
from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.export import Export
from services.train_svc.engine.samples import sample_inputs
from tests.unit.train_svc.engine.parity import close, on_torch
from tests.unit.train_svc.engine.test_export_templates import TINY, stirred

DTYPES = {"float32": np.float32, "int64": np.int64, "bool": np.bool_}
Arrays = dict[str, Any]


class Graph:
    """An exported graph that runs by names."""

    def __init__(self, description: Description, folder: Path, **form: Any) -> None:
        weights = folder / "w.safetensors"
        self.export: Export = export_onnx(description, weights, folder / "m.onnx", **form)
        self.session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])

    def __call__(self, feeds: Arrays) -> Arrays:
        taken = {port.name: feeds[port.name] for port in self.export.inputs if port.name in feeds}
        names = [port.name for port in self.export.outputs]
        return dict(zip(names, self.session.run(names, taken), strict=True))

    def empty_state(self, batch: int) -> Arrays:
        """Zeros for the state that changes, 0 frames where it grows."""
        sizes = {"batch": batch}
        ports = [port for port in self.export.inputs if port.name in self.export.state]
        return {
            port.name: np.zeros(
                [size if isinstance(size, int) else sizes.get(size, 0) for size in port.shape], DTYPES[port.dtype]
            )
            for port in ports
        }

    def next_state(self, outputs: Arrays) -> Arrays:
        return {name: outputs[made] for name, made in self.export.state.items()}


def test_a_text_token_by_token_has_the_logits_of_the_whole(tmp_path: Path) -> None:
    description = describe("gpt2", **TINY["gpt2"])
    model = load_weights(build(description), stirred(description, tmp_path / "w.safetensors")).eval()
    graph = Graph(description, tmp_path, step=True)
    assert {port.name for port in graph.export.inputs} >= {"tokens"}
    tokens = sample_inputs(description, batch=3, sizes={"time": 7})["tokens"]
    state, made = graph.empty_state(3), []
    for place in range(7):
        outputs = graph({"tokens": tokens[:, place : place + 1], **state})
        state = graph.next_state(outputs)
        made.append(outputs["logits"])
    with torch.inference_mode():
        close(np.concatenate(made, 1), model(torch.from_numpy(tokens)), "logits", 1e-4)


def test_an_encoder_run_once_serves_every_step_of_the_decoder(tmp_path: Path) -> None:
    description = describe("transformer", **TINY["transformer"])
    model = load_weights(build(description), stirred(description, tmp_path / "w.safetensors")).eval()
    encoder = Graph(description, tmp_path, part="encoder", memory_for="decoder")
    decoder = Graph(description, tmp_path, part="decoder", step=True)
    assert [port.name for port in encoder.export.inputs] == ["sources", "source_mask"]
    inputs = sample_inputs(description, batch=2, sizes={"source": 9, "target": 6})
    memory, state, made = encoder(inputs), decoder.empty_state(2), []
    for place in range(6):
        outputs = decoder({"targets": inputs["targets"][:, place : place + 1], **memory, **state})
        state = decoder.next_state(outputs)
        made.append(outputs["logits"])
    with torch.inference_mode():
        close(np.concatenate(made, 1), model(**on_torch(inputs)), "logits", 1e-4)


def test_a_stream_chunk_by_chunk_is_the_whole_recording_under_its_mask(tmp_path: Path) -> None:
    options = TINY["u2pp_conformer"]
    description = describe("u2pp_conformer", **{**options, "encoder": {**options["encoder"], "left_chunks": -1}})
    model = load_weights(build(description), stirred(description, tmp_path / "w.safetensors")).eval()
    graph = Graph(description, tmp_path, part="encoder", step=True, without=["lengths"])
    frames = np.random.default_rng(0).standard_normal((2, 5 * 16, 12)).astype(np.float32)
    state, made = graph.empty_state(2), []
    for start in range(0, 5 * 16, 16):
        outputs = graph({"features": frames[:, start : start + 16], **state})
        state = graph.next_state(outputs)
        made.append(outputs["encoded"])
    with torch.inference_mode():
        close(np.concatenate(made, 1), model.encode(torch.from_numpy(frames))["encoded"], "encoded", 1e-4)


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("mlp", {"step": True}, "the model carries nothing from step to step"),
        ("transformer", {"step": True}, "name the part that steps"),
        ("transformer", {"part": "decode", "step": True}, "there is no part 'decode'"),
        ("transformer", {"part": "decoder", "memory_for": "encoder"}, "'encoder' looks at nothing"),
        ("transformer", {"memory_for": "decoder"}, "goes with the part that makes the memory"),
        ("transformer", {"without": ["targets"]}, "those are: source_mask"),
    ],
)
def test_what_has_no_such_form_is_refused(name: str, form: dict[str, Any], message: str, tmp_path: Path) -> None:
    description = describe(name, **TINY[name])
    weights = stirred(description, tmp_path / "w.safetensors")
    with pytest.raises(InvalidError, match=message):
        export_onnx(description, weights, tmp_path / "m.onnx", **form)

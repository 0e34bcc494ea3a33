from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from modelwright.train import build, describe, export_onnx, load_weights, save_weights
from services.train_svc.engine import export
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import Dropout


@pytest.mark.parametrize("name", ["resnet_small", "mlp"])
def test_an_export_computes_what_torch_does_at_any_batch(name: str, tmp_path: Path) -> None:
    description = describe(name, image_height=9, image_width=8, in_channels=3, num_classes=4)
    save_weights(build(description), tmp_path / "w.safetensors")
    result = export_onnx(description, tmp_path / "w.safetensors", tmp_path / "model.onnx")
    assert result.size_bytes == (tmp_path / "model.onnx").stat().st_size

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    model = load_weights(build(description), tmp_path / "w.safetensors").eval()
    for batch in (1, 3, 64):
        inputs = torch.randn(batch, 3, 9, 8)
        (got,) = session.run(None, {"input": inputs.numpy()})
        np.testing.assert_allclose(got, model(inputs).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_graph_states_its_opset_and_a_dynamic_batch(tmp_path: Path) -> None:
    import onnx

    save_weights(build(describe("mlp")), tmp_path / "w.safetensors")
    export_onnx(describe("mlp"), tmp_path / "w.safetensors", tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", export.OPSET)]
    (tensor,) = model.graph.input
    sizes = [size.dim_param or size.dim_value for size in tensor.type.tensor_type.shape.dim]
    assert (tensor.name, sizes) == ("input", ["batch", 1, 8, 8])
    onnx.checker.check_model(model)


def test_a_model_that_does_not_export_faithfully_is_refused(tmp_path: Path) -> None:
    class Drifting(torch.nn.Module):
        """Gives more each time, which no graph can."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)
            self.calls = 0.0

        def forward(self, *x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            shifted: torch.Tensor = self.layer(x[0]) + self.calls
            return shifted

    with pytest.raises(export.ExportError, match="logits at batch 2 differs by"):
        export.export_module(Drifting(), (3,), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_batch_that_became_a_constant_is_refused(tmp_path: Path) -> None:
    class Row(torch.nn.Module):
        """Reads sample by sample in Python."""

        def forward(self, *x: torch.Tensor) -> torch.Tensor:
            return torch.stack([sample * 2 for sample in x[0]])

    with pytest.raises(export.ExportError, match="'batch' of the input 'input' became 2"):
        export.export_module(Row(), (3,), tmp_path / "model.onnx")


def test_weights_of_tensorflow_export_to_what_tensorflow_computes(tmp_path: Path) -> None:
    description = describe("resnet_small", image_height=9, image_width=8, in_channels=3, num_classes=4)
    model = build(description, engine="tensorflow")
    save_weights(model, tmp_path / "w.safetensors")
    export_onnx(description, tmp_path / "w.safetensors", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = np.random.default_rng(0).standard_normal((3, 3, 9, 8)).astype(np.float32)
    (got,) = session.run(None, {"input": inputs})
    np.testing.assert_allclose(got, np.asarray(model(inputs)), rtol=1e-4, atol=1e-5)


def test_inputs_that_may_be_left_out_are_left_out(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"vocab_size": 20, "num_layers": 1, "d_model": 8, "attention_heads": 2, "feed_forward": 8}
    description = describe("bert", **sizes)
    save_weights(build(description), tmp_path / "w.safetensors")
    form: dict[str, Any] = {"without": ("mask", "token_types")}
    result = export_onnx(description, tmp_path / "w.safetensors", tmp_path / "model.onnx", **form)
    assert result.inputs == (export.Port(name="tokens", dtype="int64", shape=("batch", "time")),)
    assert result.outputs == (
        export.Port(name="hidden", dtype="float32", shape=("batch", "time", 8)),
        export.Port(name="pooled", dtype="float32", shape=("batch", 8)),
    )


def test_the_file_names_no_path_of_the_machine(tmp_path: Path) -> None:
    save_weights(build(describe("mlp")), tmp_path / "w.safetensors")
    export_onnx(describe("mlp"), tmp_path / "w.safetensors", tmp_path / "model.onnx")
    assert b".py" not in (tmp_path / "model.onnx").read_bytes()


def test_what_drops_in_use_drops_in_onnx_too(tmp_path: Path) -> None:
    drop = Dropout(rate=0.5, always=True)
    description = Description(name="noisy", input_shape=(400,), body=(drop, Linear(out_features=2)))
    save_weights(build(description), tmp_path / "w.safetensors")
    export_onnx(description, tmp_path / "w.safetensors", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    once, again = (session.run(None, {"input": np.ones((3, 400), np.float32)})[0] for _ in range(2))
    assert np.abs(once - again).max() > 0

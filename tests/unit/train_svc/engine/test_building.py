from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from modelwright.train import build, describe, load_weights, save_weights
from services.common.errors import InvalidError
from services.train_svc.engine.on_torch.tensors import named_tensors


def test_parameters_are_named_after_the_blocks_and_counted() -> None:
    model = build(describe("resnet_small"))
    names = [name for name, _ in model.named_parameters()]
    assert names[0] == "stem.conv2d.weight"
    assert "stage2.block1.shortcut.conv2d.weight" in names
    # Convolutions, two numbers a channel for each norm, and the classifier, counted by hand.
    convolutions = 9 * 32 + 2 * 9 * 32 * 32 + 9 * 32 * 64 + 9 * 64 * 64 + 32 * 64
    assert sum(parameter.numel() for parameter in model.parameters()) == convolutions + 2 * (3 * 32 + 3 * 64) + 650


@pytest.mark.parametrize("name", ["resnet_small", "mlp"])
def test_a_model_gives_the_shape_that_was_inferred(name: str) -> None:
    description = describe(name, image_height=9, image_width=5, in_channels=3, num_classes=4)
    assert build(description)(torch.zeros(2, 3, 9, 5)).shape == (2, *description.output_shape)


def test_the_meta_device_allocates_nothing() -> None:
    model = build(describe("resnet_small", width=4096), device="meta")
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_yaml_file_builds(tmp_path: Path) -> None:
    file = tmp_path / "architecture.yaml"
    file.write_text(str(describe("mlp")))
    assert build(file)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(InvalidError, match="there is no file"):
        build(tmp_path / "none.yaml")


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InvalidError, match="wanted 'torch'"):
        build(describe("mlp"), engine="jax")  # type: ignore[arg-type]  # the fault under test


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    model, other = build(describe("resnet_small")), build(describe("resnet_small"))
    save_weights(model, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    wanted = named_tensors(model)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in named_tensors(other).items())


def test_weights_of_another_model_are_refused_by_name_and_change_nothing(tmp_path: Path) -> None:
    save_weights(build(describe("resnet_small", width=8)), tmp_path / "w.safetensors")
    model = build(describe("resnet_small", width=16))
    before = {name: tensor.clone() for name, tensor in named_tensors(model).items()}
    with pytest.raises(InvalidError, match=r"'classifier.weight' has shape \[10, 16\], wanted \[10, 32\]"):
        load_weights(model, tmp_path / "w.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(model).items())


def test_a_truncated_file_of_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(build(describe("mlp")), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidError, match="holds no readable tensors"):
        load_weights(build(describe("mlp")), path)


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_call_with_the_wrong_inputs_says_which(engine: Literal["torch", "tensorflow"]) -> None:
    model = build(describe("bert", num_layers=1, d_model=8, attention_heads=2, feed_forward=8), engine=engine)
    ids = (
        torch.zeros(1, 3, dtype=torch.int64).numpy() if engine == "tensorflow" else torch.zeros(1, 3, dtype=torch.int64)
    )

    def call(*ordered: Any, **named: Any) -> Any:
        return model(*ordered, **named) if engine == "torch" else model(list(ordered) or named)

    assert call(tokens=ids, mask=None)["hidden"].shape == (1, 3, 8)
    with pytest.raises(InvalidError, match="tokens: is not given, and bert needs it"):
        call(mask=ids)
    with pytest.raises(InvalidError, match="masc: is no input of bert; did you mean 'mask'"):
        call(tokens=ids, masc=ids)
    with pytest.raises(InvalidError, match="got 4 tensors, and bert takes tokens, token_types, mask"):
        call(ids, ids, ids, ids)

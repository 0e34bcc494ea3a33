from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity, close, on_torch, pair

SMALL: dict[str, Any] = {"vocab_size": 50, "d_model": 16, "attention_heads": 4, "feed_forward": 24, "dropout": 0.0}
SMALL |= {"input_dropout": 0.0, "encoder_kernels": (3, 4), "decoder_kernels": (3, 5)}
CONVS = ["dynamic", "lightweight"]


def test_the_big_size_has_the_213_million_parameters_of_the_papers_table() -> None:
    assert round(describe("dynamicconv", size="big").root.parameter_count / 1e6) == 213


@pytest.mark.parametrize("conv", CONVS)
def test_the_parameter_count_is_that_of_the_formula(conv: str) -> None:
    wide, inner, heads, vocabulary = 512, 2048, 8, 32768
    convolve, feed, norm = 3 * wide**2 + 3 * wide, 2 * wide * inner + wide + inner, 2 * wide
    kernels = (wide if conv == "dynamic" else 1) * heads * (3 + 7 + 15 + 31 * 4 + 3 + 7 + 15 + 31 * 3)
    layers = 13 * (convolve + feed + 2 * norm) + 6 * (4 * (wide**2 + wide) + norm)
    assert describe("dynamicconv", conv=conv).root.parameter_count == vocabulary * wide + layers + kernels


@pytest.mark.parametrize("options", [{"conv": "dynamic"}, {"conv": "lightweight"}, {"glu": False, "norm_first": True}])
def test_both_engines_agree(options: dict[str, Any], tmp_path: Path) -> None:
    check_parity(describe("dynamicconv", **SMALL, **options), tmp_path, source=9, target=7)


@pytest.mark.parametrize("conv", CONVS)
def test_the_decoder_runs_as_a_loop(conv: str, tmp_path: Path) -> None:
    check_decoding(describe("dynamicconv", **SMALL, conv=conv), tmp_path, part="decoder", source=9, target=12)


def normalised(x: Any, weights: dict[str, Any], name: str) -> Any:
    spread = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def dense(x: Any, weights: dict[str, Any], name: str) -> Any:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def encoder_layer(x: Any, weights: dict[str, Any], size: int, heads: int) -> Any:
    """Return a layer of the paper's figure 2c on one sample [time, features], sum by sum."""
    first, second = np.split(dense(x, weights, "convolve.body.enter"), 2, -1)
    gated = first / (1 + np.exp(-second))
    mixed, wide = np.zeros_like(gated), gated.shape[1]
    for i, c in np.ndindex(*gated.shape):
        rows = weights["convolve.body.convolution.kernels.weight"].reshape(heads, size, wide)[c * heads // wide]
        scores = np.exp(rows @ gated[i])
        for j in range(size):
            place = i + j - (size - 1) // 2
            mixed[i, c] += scores[j] / scores.sum() * gated[place, c] if 0 <= place < len(gated) else 0.0
    x = normalised(x + dense(mixed, weights, "convolve.body.leave"), weights, "convolve_norm")
    inner = np.maximum(dense(x, weights, "feed.body.up"), 0)
    return normalised(x + dense(inner, weights, "feed.body.down"), weights, "feed_norm")


def test_an_encoder_layer_is_the_papers_and_padding_changes_nothing(tmp_path: Path) -> None:
    whole = describe("dynamicconv", **SMALL)
    layer = next(node.block for node in whole.root.walk() if node.name == "encoder.layer1")
    assert isinstance(layer, Repeat)
    frames, mask = {"shape": ("time", 16)}, {"shape": ("time",), "dtype": "bool"}
    description = Description(name="layer", inputs={"frames": frames, "mask": mask}, typical={"time": 9},  # type: ignore[dict-item]  # read as data
                              body=(Part(name="part", input="frames", mask="mask", body=(layer,)),))  # fmt: skip
    model, other = pair(description, tmp_path)
    inputs = sample_inputs(description, seed=2)
    inputs["mask"] = np.arange(9)[None] < np.array([[9], [5]])
    weights = {name.removeprefix("part.layer1.0."): tensor.numpy() for name, tensor in model.state_dict().items()}
    for engine, result in (("torch", model.eval()(*on_torch(inputs).values()).detach()), ("TensorFlow", other(inputs))):
        for sample, real in enumerate((9, 5)):
            wanted = encoder_layer(inputs["frames"][sample, :real].astype(np.float64), weights, 4, 4)
            close(np.asarray(result)[sample, :real], wanted, f"{engine}, {real} frames")

"""Series cut up and folded, tables as frames, hidden frames and codebooks, group norms: each against plain NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Block, Description, Input, from_yaml, to_yaml
from services.train_svc.engine.architecture.blocks.channels import AddChannel, EachChannel, Patches, Standardized
from services.train_svc.engine.architecture.blocks.columns import CategoryTokens, NumberTokens
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import GroupNorm
from services.train_svc.engine.architecture.blocks.positions import FixedPositions
from services.train_svc.engine.architecture.blocks.pretraining import MaskedFrames, ProductQuantizer
from services.train_svc.engine.architecture.blocks.reshape import MeanPool
from services.train_svc.engine.architecture.blocks.weight_norm import PositionalConv1d
from services.train_svc.engine.building import build
from tests.unit.train_svc.engine.parity import check_parity, close, pair

Array = npt.NDArray[np.float32]


def described(*body: Block, shape: tuple[int | str, ...], **inputs: Input) -> Description:
    typical = {size: 9 for size in shape if isinstance(size, str)}
    return Description(name="mine", inputs={"x": Input(shape=shape), **inputs}, body=body, typical=typical)


def drawn(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def check_both(description: Description, x: Array, wanted: Array) -> None:
    close(build(description)(torch.from_numpy(x)).detach(), wanted, "torch")
    close(build(description, engine="tensorflow")(x), wanted, "TensorFlow")


def test_patches_end_with_the_last_frame_and_hold_one_feature_after_the_other() -> None:
    x = drawn(2, 9, 3)
    wanted = np.stack([x[:, begin : begin + 4].transpose(0, 2, 1).reshape(2, 12) for begin in (2, 5)], 1)
    check_both(described(Patches(length=4, stride=3), shape=("time", 3)), x, wanted)


def test_patches_may_repeat_the_last_frame_before() -> None:
    x = drawn(1, 5, 1)
    wanted = np.array([[x[0, :3, 0], x[0, 2:5, 0], [x[0, 4, 0]] * 3]])
    check_both(described(Patches(length=3, stride=2, pad=2), shape=("time", 1)), x, wanted)


def test_each_channel_gives_the_body_one_variable_at_a_time() -> None:
    x = drawn(2, 9, 3)
    check_both(described(EachChannel(body=(MeanPool(),)), shape=("time", "variables")), x, x.mean(1)[:, None])
    patches = np.stack([x[:, :, v].reshape(2, 3, 3) for v in range(3)], 1)
    body = EachChannel(body=(Patches(length=3, stride=3),))
    check_both(described(body, shape=("time", "variables")), x, patches)


def test_each_channel_knows_what_is_padding() -> None:
    part = Part(input="x", lengths="lengths", body=(EachChannel(body=(MeanPool(),)),))
    lengths = Input(shape=(), dtype="int64", lengths_of="x")
    description = described(part, shape=("time", "variables"), lengths=lengths)
    x, real = drawn(2, 9, 3), np.array([9, 4])
    wanted = np.stack([x[0].mean(0), x[1, :4].mean(0)])[:, None]
    close(build(description)(torch.from_numpy(x), torch.from_numpy(real)), wanted, "torch")
    close(build(description, engine="tensorflow")([x, real]), wanted, "TensorFlow")


def test_standardized_gives_the_body_mean_0_and_variance_1_and_gives_both_back() -> None:
    x = drawn(2, 9, 3) * 5 + 2
    scaled = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    check_both(described(Standardized(restore=False), shape=("time", "variables")), x, scaled)
    check_both(described(Standardized(), shape=("time", "variables")), x, x)


@pytest.mark.parametrize(("groups", "shape"), [(0, (5, 6)), (2, (5, 6)), (3, (6, 4, 5))])
def test_group_norm_is_over_a_samples_time_or_pixels(groups: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    description = described(GroupNorm(groups=groups), shape=shape)
    model, _ = pair(description, tmp_path)
    x = drawn(2, *shape)
    first = x if len(shape) == 3 else x.transpose(0, 2, 1)
    cut = first.reshape(2, groups or 6, -1)
    cut = (cut - cut.mean(2, keepdims=True)) / np.sqrt(cut.var(2, keepdims=True) + 1e-5)
    scale, shift = (model.group_norm.state_dict()[name].numpy().reshape(-1, 1) for name in ("weight", "bias"))
    wanted = (cut.reshape(2, 6, -1) * scale + shift).reshape(first.shape)
    wanted = wanted if len(shape) == 3 else wanted.transpose(0, 2, 1)
    close(model(torch.from_numpy(x)).detach(), wanted, "torch")
    check_parity(description, tmp_path)


@pytest.mark.parametrize("kernel", [3, 4])
def test_the_positional_convolution_keeps_the_time_and_has_kernels_of_a_learned_length(
    kernel: int, tmp_path: Path
) -> None:
    description = described(PositionalConv1d(kernel_size=kernel, groups=2), shape=("time", 4))
    model, _ = pair(description, tmp_path)
    own = {name: value.numpy() for name, value in model.positional_conv1d.state_dict().items()}
    weight = own["weight_v"] / np.sqrt((own["weight_v"] ** 2).sum((0, 1), keepdims=True)) * own["weight_g"]
    x = drawn(1, 9, 4)
    padded = np.pad(x[0], ((kernel // 2, (kernel - 1) // 2), (0, 0)))
    wanted = np.array([
        [(padded[t : t + kernel, o // 2 * 2 : o // 2 * 2 + 2].T * weight[o]).sum() + own["bias"][o] for o in range(4)]
        for t in range(9)
    ])  # fmt: skip
    close(model(torch.from_numpy(x)).detach()[0], wanted, "torch")
    check_parity(description, tmp_path)


def test_hidden_frames_are_one_learned_vector(tmp_path: Path) -> None:
    masked = Input(shape=("time",), dtype="bool", optional=True)
    description = described(MaskedFrames(input="masked"), shape=("time", 3), masked=masked)
    model, other = pair(description, tmp_path)
    x, hidden = drawn(1, 3, 3), np.array([[False, True, False]])
    wanted = x.copy()
    wanted[0, 1] = model.masked_frames.weight.detach()
    close(model(torch.from_numpy(x), torch.from_numpy(hidden)).detach(), wanted, "torch")
    close(other([x, hidden]), wanted, "TensorFlow")


def test_in_evaluation_the_quantizer_takes_the_entries_of_the_highest_scores(tmp_path: Path) -> None:
    quantizer = ProductQuantizer(groups=2, entries=5, features=6)
    model, other = pair(described(quantizer, shape=("time", 4)), tmp_path)
    own = {name: value.numpy() for name, value in model.product_quantizer.state_dict().items()}
    x = drawn(1, 7, 4)
    scores = (x @ own["scores.weight"].T + own["scores.bias"]).reshape(7, 2, 5)
    wanted = np.stack([own["weight"].reshape(2, 5, 3)[group, scores[:, group].argmax(-1)] for group in range(2)], 1)
    close(model.eval()(torch.from_numpy(x)).detach()[0], wanted.reshape(7, 6), "torch")
    close(other(x)[0], wanted.reshape(7, 6), "TensorFlow")


FAULTS: list[tuple[Block, tuple[int | str, ...], str]] = [
    (AddChannel(), ("time", 2), r"add_channel got \[\?, 2\], wanted \[time\]"),
    (EachChannel(), (2, 3, 4), "each_channel got"),
    (EachChannel(body=(Linear(out_features=3),)), ("time",), "each_channel got"),
    (Standardized(body=(Linear(out_features=4),)), ("time", 3), "`restore: false`"),
    (Patches(length=9), (5, 2), "a window of 9 does not fit into 5 frames"),
    (GroupNorm(groups=4), ("time", 6), r"group_norm\.groups: 4 do not divide 6 channels"),
    (NumberTokens(features=4), ("time",), "with their number known"),
    (CategoryTokens(cardinalities=(3, 4), features=4), (3,), r"cardinalities: got \[3\], wanted \[2\]"),
    (ProductQuantizer(groups=3, features=8), ("time", 4), "3 do not divide 8 features"),
    (MaskedFrames(input="hidden"), ("time", 4), "there is no value 'hidden' here"),
    (PositionalConv1d(groups=3), ("time", 4), "3 groups do not divide 4 inputs"),
    (FixedPositions(length=4), (5, 6), "got 4, but the input has 5 frames"),
]


@pytest.mark.parametrize(("block", "shape", "message"), FAULTS)
def test_what_does_not_fit_is_refused_where_it_stands(block: Block, shape: Any, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        described(block, shape=shape)


def test_they_are_written_as_yaml_and_read_back() -> None:
    body = EachChannel(body=(Patches(length=3, stride=2),))
    description = described(Standardized(body=(body,), restore=False), shape=("time", "variables"))
    assert from_yaml(to_yaml(description)) == description
    table = described(
        CategoryTokens(cardinalities=(3, 4), features=4, input="c"),
        shape=(3, 4),
        c=Input(shape=(2,), dtype="int64", below=3),
    )
    assert from_yaml(to_yaml(table)) == table

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Block, Description, read_description
from services.train_svc.engine.architecture.blocks.combine import Concat, Load, Save, Sequential
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import LayerNorm
from services.train_svc.engine.architecture.blocks.pixels import Pixels, Resize, SpaceToDepth
from services.train_svc.engine.building import build
from tests.unit.train_svc.engine.parity import check_parity, close

Array = npt.NDArray[np.float32]


def described(*body: Block, shape: tuple[int, ...] = (3, 5, 7)) -> Description:
    return Description(name="mine", input_shape=shape, body=body)


def drawn(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def check_both(description: Description, picture: Array, wanted: Array) -> None:
    assert description.output_shape == wanted.shape
    close(build(description)(torch.from_numpy(picture[None])).detach()[0], wanted, "torch")
    close(build(description, engine="tensorflow")(picture[None])[0], wanted, "TensorFlow")


def bilinear(picture: Array, high: int, wide: int) -> Array:
    # The mean of the four pixels around a place, weighted by how near they are; pixels are areas.
    channels, height, width = picture.shape
    result = np.empty((channels, high, wide), np.float32)
    for i in range(high):
        for j in range(wide):
            y = np.clip((i + 0.5) * height / high - 0.5, 0, None)
            x = np.clip((j + 0.5) * width / wide - 0.5, 0, None)
            top, left = int(y), int(x)
            down, right = min(top + 1, height - 1), min(left + 1, width - 1)
            v, u = y - top, x - left
            upper = (1 - u) * picture[:, top, left] + u * picture[:, top, right]
            lower = (1 - u) * picture[:, down, left] + u * picture[:, down, right]
            result[:, i, j] = (1 - v) * upper + v * lower
    return result


def test_resize_is_bilinear_interpolation() -> None:
    picture = drawn(3, 5, 7)
    check_both(described(Resize(factor=3)), picture, bilinear(picture, 15, 21))


@pytest.mark.parametrize(("kernel", "sides"), [(2, (4, 6)), (3, (3, 5)), (5, (1, 3))])
def test_resize_takes_the_sides_of_a_named_picture(kernel: int, sides: tuple[int, int]) -> None:
    smaller = Conv2d(out_channels=3, kernel_size=kernel, padding=0)
    body = (Save(value="whole"), smaller, Save(value="part"), Load(value="whole"), Resize(like="part"))
    picture = drawn(3, 5, 7)
    check_both(described(*body), picture, bilinear(picture, *sides))


def test_space_to_depth_takes_columns_before_rows_and_pads_with_zeros() -> None:
    picture = drawn(3, 5, 7)
    padded = np.pad(picture, ((0, 0), (0, 1), (0, 1)))
    wanted = np.concatenate([padded[:, row::2, column::2] for column in range(2) for row in range(2)])
    check_both(described(SpaceToDepth()), picture, wanted)


def test_a_linear_layer_over_pixels_is_a_convolution_with_one_pixel() -> None:
    model = build(described(Pixels(body=(Linear(out_features=4),))))
    convolution = nn.Conv2d(3, 4, 1)
    weight, bias = model.state_dict().values()
    convolution.load_state_dict({"weight": weight[:, :, None, None], "bias": bias})
    picture = torch.from_numpy(drawn(2, 3, 5, 7))
    close(model(picture).detach(), convolution(picture).detach(), "the picture")


def test_pixels_move_no_memory_after_a_norm() -> None:
    model = build(described(LayerNorm(), Pixels(body=(Linear(out_features=4), Gelu()))))
    made = model(torch.from_numpy(drawn(2, 3, 5, 7)))
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_both_engines_agree(tmp_path: Path) -> None:
    coarse = Sequential(
        name="coarse",
        body=(SpaceToDepth(), Pixels(body=(Linear(out_features=2),)), Conv2d(out_channels=2), Resize(like="fine")),
    )
    fine = Sequential(name="fine", body=(Load(value="fine"), LayerNorm()))
    check_parity(described(Save(value="fine"), Concat(branches=(coarse, fine)), Resize(factor=2)), tmp_path)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"pixels": {"body": ["mean_pool"]}}, "it must keep the number of pixels"),
        ({"resize": {"like": "other"}}, "there is no value 'other' here"),
    ],
)
def test_faults_name_what_was_wanted(block: Any, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        _ = read_description({"name": "mine", "input_shape": [3, 5, 7], "body": [block]}).root

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Block, Description, read_description
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.pixels import Pixels
from services.train_svc.engine.architecture.blocks.windows import SpatialAttention, WindowAttention
from services.train_svc.engine.building import build
from tests.unit.train_svc.engine.parity import check_parity, close, pair

SHAPE = (6, 4, 6)


def described(block: Block) -> Description:
    return Description(name="mine", input_shape=SHAPE, body=(block,))


def neighbours(description: Description, row: int, column: int) -> set[tuple[int, int]]:
    # The pixels whose outputs change when one pixel of the input does.
    model = build(description)
    picture = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    other = picture.clone()
    other[0, :, row, column] += 1
    with torch.no_grad():
        changed = (model(picture) - model(other)).abs().amax(1)[0] > 0
    return {(int(y), int(x)) for y, x in changed.nonzero()}


@pytest.mark.parametrize(
    ("shift", "pixel", "rows", "columns"),
    [
        (0, (1, 2), (0, 1), (2, 3)),
        (1, (1, 2), (1, 2), (1, 2)),
        # The shift brings the ends together, but they do not see one another.
        (1, (0, 0), (0,), (0,)),
        (1, (3, 1), (3,), (1, 2)),
    ],
)
def test_a_pixel_sees_its_window_alone(
    shift: int, pixel: tuple[int, int], rows: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    description = described(WindowAttention(heads=2, window=2, shift=shift))
    assert neighbours(description, *pixel) == {(row, column) for row in rows for column in columns}


def test_a_picture_no_larger_than_a_window_has_one_row_of_windows_without_shift() -> None:
    description = described(WindowAttention(heads=2, window=9, shift=4))
    # Windows of 4 pixels, the second one padded from 2.
    assert neighbours(description, 0, 5) == {(row, column) for row in range(4) for column in (4, 5)}


def test_the_bias_of_a_distance_is_the_same_everywhere() -> None:
    model = build(described(WindowAttention(heads=2, window=4, init_std=0.5)))
    own = {name.split("window_attention.")[-1]: tensor.numpy() for name, tensor in model.state_dict().items()}
    picture = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    window = picture[:, :, :4].reshape(6, 16).T

    def layer(name: str, x: Any) -> Any:
        return x @ own[f"{name}.weight"].T + own[f"{name}.bias"]

    mixed = np.empty((16, 6))
    for head in range(2):
        query, key, value = (layer(name, window)[:, 3 * head : 3 * head + 3] for name in ("query", "key", "value"))
        for pixel in range(16):
            places = [((pixel // 4 - other // 4 + 3) * 7 + pixel % 4 - other % 4 + 3) for other in range(16)]
            weights = np.exp(key @ query[pixel] / 3**0.5 + own["table"][places, head])
            mixed[pixel, 3 * head : 3 * head + 3] = weights @ value / weights.sum()
    got = model(torch.from_numpy(picture[None])).detach()[0, :, :, :4].reshape(6, 16).T
    close(got, layer("output", mixed), "the first window")


def test_spatial_attention_without_reduction_is_attention_over_pixels() -> None:
    model, other = build(described(SpatialAttention(heads=3))), build(described(Pixels(body=(Attention(heads=3),))))
    other.load_state_dict(dict(zip(other.state_dict(), model.state_dict().values(), strict=True)))
    picture = torch.randn(2, *SHAPE)
    close(model(picture).detach(), other(picture).detach(), "the picture")


@pytest.mark.parametrize("block", [WindowAttention(heads=2, window=3, shift=1), SpatialAttention(heads=3, reduction=2)])
def test_both_engines_agree(block: Block, tmp_path: Path) -> None:
    check_parity(described(block), tmp_path)


def test_the_picture_stays_in_channels_last_memory(tmp_path: Path) -> None:
    model, _ = pair(described(WindowAttention(heads=2, window=2, shift=1)), tmp_path)
    assert model(torch.randn(2, *SHAPE)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"window_attention": {"heads": 4}}, "heads: 4 heads do not divide 6 channels"),
        ({"window_attention": {"heads": 2, "window": 3, "shift": 3}}, "shift: got 3, wanted less than the window's 3"),
        ({"spatial_attention": {"heads": 2, "reduction": 5}}, "a window of 5 does not fit into 4 pixels"),
    ],
)
def test_faults_name_what_was_wanted(block: Any, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        _ = read_description({"name": "mine", "input_shape": list(SHAPE), "body": [block]}).root

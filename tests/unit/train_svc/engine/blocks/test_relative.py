from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description, Input
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.architecture.blocks.relative import RelativeAttention
from services.train_svc.engine.building import build
from tests.unit.train_svc.engine.parity import check_parity, close, pair


def described(features: int = 8, **options: Any) -> Description:
    body = (RelativeAttention(heads=2, **options),)
    return Description(
        name="relative",
        inputs={
            "frames": Input(shape=("time", features)),
            "lengths": Input(shape=(), dtype="int64", lengths_of="frames"),
        },
        typical={"time": 7},
        body=(Part(name="part", input="frames", lengths="lengths", body=body),),
    )


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(described(), tmp_path, time=7)


def wave(distance: int, features: int) -> Any:
    """The vector of one distance: sines and cosines side by side."""
    rates = 10000.0 ** (-np.arange(0, features, 2) / features)
    return np.stack([np.sin(distance * rates), np.cos(distance * rates)], -1).reshape(-1)


def test_scores_are_the_four_terms_of_transformer_xl(tmp_path: Path) -> None:
    model, _ = pair(described(), tmp_path)
    own = {name.split("attention.")[-1]: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    x = np.random.default_rng(0).standard_normal((5, 8))
    project = {name: x @ own[f"{name}.weight"].T + own[f"{name}.bias"] for name in ("query", "key", "value")}
    mixed = np.zeros((5, 8))
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        query, key, value = (project[name][:, part] for name in ("query", "key", "value"))
        for i in range(5):
            far = [own["position.weight"][part] @ wave(i - j, 8) for j in range(5)]
            content = [(query[i] + own["content_bias"][head]) @ key[j] for j in range(5)]
            place = [(query[i] + own["position_bias"][head]) @ far[j] for j in range(5)]
            weights = np.exp((np.array(content) + np.array(place)) / 2)
            mixed[i, part] = weights / weights.sum() @ value
    wanted = mixed @ own["output.weight"].T + own["output.bias"]
    got = model(torch.from_numpy(x[None].astype(np.float32)))
    close(got[0].detach(), wanted, "attention")


def test_padding_does_not_reach_what_is_real() -> None:
    model = build(described()).eval()
    frames = torch.randn(2, 7, 8)
    padded = model(frames, torch.tensor([7, 4]))
    close(padded[1, :4].detach(), model(frames[1:, :4])[0].detach(), "a padded sample")


def test_features_that_heads_do_not_divide_are_refused() -> None:
    with pytest.raises(InvalidError, match="2 heads, and 2 for sine and cosine, must divide 9 features"):
        described(features=9)

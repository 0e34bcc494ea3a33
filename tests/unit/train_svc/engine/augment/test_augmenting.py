"""The changes themselves: both engines make what slow loops make, of a whole batch and of its pieces."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from services.train_svc.engine.augment.draws import draw
from services.train_svc.engine.augment.scaling import Shares
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.spec import AugmentSpec, MaskSpec, MixSpec
from tests.unit.train_svc.engine.augment.reference import ENGINES, Engine, changed, on_tensorflow, on_torch, sampled

CHANCE = np.random.default_rng(0)
COUNT = 5
COLOUR = Batch(
    inputs={"input": CHANCE.integers(0, 256, (COUNT, 3, 8, 11), np.uint8)},
    targets={"labels": np.arange(COUNT)},
)
SPEECH = Batch(
    inputs={
        "features": CHANCE.standard_normal((COUNT, 30, 8)).astype(np.float32),
        "lengths": np.array([30, 11, 25, 8, 19]),
    },
    targets={"labels": np.arange(COUNT)},
)
SCALING = Shares(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
ALL = AugmentSpec(shift_pixels=2, rotate_degrees=30, scale=0.2, flip=0.5, crop_scale=0.3, erase=0.5)
NONE = AugmentSpec(shift_pixels=0, rotate_degrees=0, scale=0)
CASES: dict[str, tuple[Batch, AugmentSpec, MixSpec, MaskSpec]] = {
    "moves": (COLOUR, AugmentSpec(), MixSpec(), MaskSpec()),
    "borders": (COLOUR, replace(ALL, padding="border"), MixSpec(), MaskSpec()),
    "mixup": (COLOUR, ALL, MixSpec(mixup=0.4), MaskSpec()),
    "cutmix": (COLOUR, ALL, MixSpec(cutmix=1.0), MaskSpec()),
    "one of two": (COLOUR, ALL, MixSpec(mixup=0.4, cutmix=1.0), MaskSpec()),
    "specmix": (SPEECH, NONE, MixSpec(specmix=0.4), MaskSpec()),
    "masks": (SPEECH, NONE, MixSpec(), MaskSpec(time_masks=2, time_width=9, frequency_masks=2, frequency_width=4)),
    "all of speech": (SPEECH, NONE, MixSpec(mixup=0.3, specmix=0.4), MaskSpec(time_masks=2, frequency_masks=1)),
}


def drawn(name: str, step: int = 3) -> tuple[Batch, AugmentSpec]:
    batch, augment, mix, mask = CASES[name]
    return draw(augment, mix, mask, batch=batch, seed=1, step=step), augment


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_an_engine_makes_what_loops_make(name: str, engine: Engine) -> None:
    for step in range(2):
        batch, spec = drawn(name, step)
        first = next(iter(batch.inputs))
        made = engine(batch, spec, SCALING)[first]
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, changed(batch, spec, SCALING), atol=3e-6)
        assert not np.allclose(made, engine(replace(batch, draws={}), spec, SCALING)[first])


@pytest.mark.parametrize("name", CASES)
def test_the_engines_make_the_same(name: str) -> None:
    batch, spec = drawn(name)
    for x, y in zip(on_torch(batch, spec, SCALING).values(), on_tensorflow(batch, spec, SCALING).values(), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-6)


def test_the_engines_agree_on_large_pictures_too() -> None:
    # Single pixels of noise: a place that is read 1e-4 pixels off would show.
    picture = np.random.default_rng(1).integers(0, 256, (2, 3, 224, 200), np.uint8)
    batch = draw(ALL, MixSpec(), MaskSpec(), batch=Batch(inputs={"input": picture}, targets={}), seed=1, step=0)
    x, y = (engine(batch, ALL, SCALING)["input"] for engine in ENGINES)
    np.testing.assert_allclose(x, y, atol=3e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_pieces_are_changed_as_the_whole_batch_is(name: str, engine: Engine) -> None:
    batch, spec = drawn(name)
    first = next(iter(batch.inputs))
    whole = engine(batch, spec)[first]
    for count in (2, 3):
        made = np.concatenate([engine(piece, spec)[first] for piece in batch.pieces(count)])
        np.testing.assert_allclose(made, whole, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_draws_bytes_are_scaled_and_the_rest_is_left_alone(engine: Engine) -> None:
    from services.common.preprocess import Preprocess

    served = Preprocess(["none", {"normalize": {"mean": list(SCALING.mean), "std": list(SCALING.std)}}])
    np.testing.assert_allclose(engine(COLOUR, ALL, SCALING)["input"], served.finish(COLOUR.inputs["input"]), atol=1e-6)
    np.testing.assert_array_equal(engine(SPEECH, ALL)["features"], SPEECH.inputs["features"])
    tokens = Batch(inputs={"tokens": np.arange(6).reshape(2, 3), "mask": np.ones((2, 3), bool)}, targets={})
    made = engine(draw(AugmentSpec(), MixSpec(), MaskSpec(), batch=tokens, seed=0, step=0), AugmentSpec())
    assert list(made) == ["tokens", "mask"]
    np.testing.assert_array_equal(made["tokens"], tokens.inputs["tokens"])


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_the_places_are_those_of_torchs_own_sampler(padding: str) -> None:
    from torch.nn import functional

    from services.train_svc.engine.on_torch.augmenting import resample

    height, width = 8, 11
    x = torch.rand(COUNT, 2, height, width, generator=torch.Generator().manual_seed(0))
    batch, _ = drawn("moves")
    maps = torch.from_numpy(batch.draws["map"])
    # From pixels from the middle to shares of half a side.
    scaled = maps * torch.tensor([[1, height / width, 2 / width], [width / height, 1, 2 / height]])
    grid = functional.affine_grid(scaled, list(x.shape), align_corners=False)
    expected = functional.grid_sample(x, grid, padding_mode=padding, align_corners=False)
    torch.testing.assert_close(resample(x, maps, padding), expected, atol=1e-5, rtol=0)


def test_a_mirror_image_is_exact() -> None:
    spec = replace(NONE, flip=1.0)
    batch = draw(spec, MixSpec(), MaskSpec(), batch=COLOUR, seed=0, step=0)
    plain = on_torch(COLOUR, NONE)["input"]
    for engine in ENGINES:
        np.testing.assert_array_equal(engine(batch, spec)["input"], plain[..., ::-1])


def test_it_compiles_to_one_graph() -> None:
    from services.train_svc.engine.on_torch.augmenting import augment

    for name in ("one of two", "all of speech"):
        batch, spec = drawn(name)
        inputs, draws = ({key: torch.from_numpy(x) for key, x in part.items()} for part in (batch.inputs, batch.draws))

        def change(inputs: dict[str, Any], draws: dict[str, Any], spec: AugmentSpec = spec) -> dict[str, Any]:
            return augment(inputs, draws, spec, scaling=SCALING)

        made = torch.compile(change, backend="eager", fullgraph=True)(inputs, draws)
        torch.testing.assert_close(made, change(inputs, draws))


def test_the_loops_leave_a_picture_alone_where_nothing_moves() -> None:
    picture = COLOUR.inputs["input"][0]
    np.testing.assert_array_equal(sampled(picture, np.array([[1, 0, 0], [0, 1, 0]]), "zeros"), picture)

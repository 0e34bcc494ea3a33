"""The draws: a pure function of seed and step, within the bounds of the papers that they follow."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.augment.draws import draw
from services.train_svc.engine.augment.erasing import draw_rectangles
from services.train_svc.engine.augment.maps import draw_maps, move_labels
from services.train_svc.engine.augment.masking import draw_masks
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.spec import IGNORED, AugmentSpec, MaskSpec, MixSpec

MANY = 400
NONE = AugmentSpec(shift_pixels=0, rotate_degrees=0, scale=0)
ALL = AugmentSpec(flip=0.5, crop_scale=0.3, erase=0.5)


def pictures(count: int = MANY, channels: int = 1, height: int = 8, width: int = 10) -> Batch:
    x = np.random.default_rng(0).integers(0, 256, (count, channels, height, width), np.uint8)
    return Batch(inputs={"input": x}, targets={"labels": np.arange(count)})


def speech(count: int = MANY, frames: int = 40, features: int = 12) -> Batch:
    chance = np.random.default_rng(0)
    x = chance.standard_normal((count, frames, features)).astype(np.float32)
    lengths = chance.integers(1, frames + 1, count)
    return Batch(inputs={"features": x, "lengths": lengths}, targets={"labels": np.arange(count)})


def made(augment: AugmentSpec = NONE, mix: MixSpec | None = None, mask: MaskSpec | None = None, **more: Any) -> Batch:
    return draw(augment, mix or MixSpec(), mask or MaskSpec(), **{"batch": pictures(), "seed": 1, "step": 5, **more})


def same(a: Batch, b: Batch) -> bool:
    return all(
        x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)
        for x, y in ((a.inputs, b.inputs), (a.targets, b.targets), (a.draws, b.draws))
    )


def test_draws_depend_on_seed_and_step_alone() -> None:
    mix = MixSpec(mixup=0.2, cutmix=1.0)
    first = made(ALL, mix)
    made(ALL, mix, step=6)
    assert same(made(ALL, mix), first)
    assert not same(made(ALL, mix, step=6), first)
    assert not same(made(ALL, mix, seed=2), first)


def test_one_kind_of_change_leaves_the_others_draws_alone() -> None:
    alone, beside = made(replace(NONE, erase=0.5)), made(ALL, MixSpec(cutmix=1.0))
    np.testing.assert_array_equal(alone.draws["erase"], beside.draws["erase"])
    np.testing.assert_array_equal(made(ALL).draws["map"], beside.draws["map"])


def test_every_draw_has_the_batch_first() -> None:
    for batch in (
        made(ALL, MixSpec(mixup=0.2, cutmix=1.0)),
        made(NONE, MixSpec(specmix=0.3), MaskSpec(time_masks=2, frequency_masks=1), batch=speech()),
    ):
        assert {len(array) for array in batch.draws.values()} == {MANY}
        assert {len(array) for array in batch.targets.values()} == {MANY}


def test_nothing_is_drawn_where_nothing_is_asked_for() -> None:
    batch = pictures()
    assert same(made(NONE, batch=batch), batch)


def test_a_place_is_computed_without_rounding() -> None:
    for side in (8, 28, 224, 600):
        maps = draw_maps(replace(ALL, rotate_degrees=180, scale=0.5), 50, side, side, seed=0, step=0)
        assert maps is not None
        corners = np.array([[x, y] for x in (-1, 1) for y in (-1, 1)]) * (side - 1) / 2
        for affine in maps:
            for corner in corners:
                exact = affine[:, :2].astype(np.float64) @ corner + affine[:, 2] + (side - 1) / 2
                single = affine[:, 0] * np.float32(corner[0]) + affine[:, 1] * np.float32(corner[1])
                single = single + (affine[:, 2] + np.float32((side - 1) / 2))
                assert single.dtype == np.float32
                np.testing.assert_array_equal(single, exact)


def test_moves_stay_within_the_spec() -> None:
    spec = AugmentSpec(shift_pixels=2, rotate_degrees=30, scale=0.2)
    maps = draw_maps(spec, MANY, 28, 28, seed=0, step=0)
    assert maps is not None
    assert 1.9 < np.abs(maps[:, :, 2]).max() <= 2
    sizes, turns = np.hypot(maps[:, 0, 0], maps[:, 1, 0]), np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 0.79 < sizes.min() < 0.85
    assert 1.15 < sizes.max() < 1.21
    assert 28 < np.abs(turns).max() < 30.1


def test_a_crop_lies_within_the_picture_and_keeps_its_share_and_ratio() -> None:
    height, width = 64, 96
    maps = draw_maps(replace(NONE, crop_scale=0.08), MANY, height, width, seed=0, step=0)
    assert maps is not None
    shares = maps[:, [0, 1], [0, 1]]
    areas, ratios = shares.prod(1), shares[:, 0] * width / (shares[:, 1] * height)
    assert 0.079 < areas.min() < 0.12
    assert 0.8 < areas.max() <= 1
    assert 0.74 < ratios.min() < 0.8
    assert 1.3 < ratios.max() < 1.34
    for axis, side in enumerate((width, height)):
        reach = np.abs(maps[:, axis, 2]) + shares[:, axis] * side / 2
        assert reach.max() < side / 2 + 0.1
        assert np.abs(maps[:, axis, 2]).max() > side / 5


def test_half_of_the_pictures_are_mirrored() -> None:
    maps = draw_maps(replace(NONE, flip=0.5), MANY, 8, 8, seed=0, step=0)
    assert maps is not None
    assert 0.4 < (maps[:, 0, 0] == -1).mean() < 0.6
    assert (maps[:, 1, 1] == 1).all()


def test_erased_rectangles_are_those_of_the_paper() -> None:
    boxes = draw_rectangles(0.5, 4000, 60, 80, np.random.default_rng(0)).astype(int)
    sides = boxes[:, 2:] - boxes[:, :2]
    erased = sides.all(1)
    assert 0.45 < erased.mean() < 0.55
    assert not boxes[~erased].any()
    areas, ratios = sides[erased].prod(1) / (60 * 80), sides[erased, 0] / sides[erased, 1]
    assert 0.018 < areas.min() < 0.025
    assert 0.32 < areas.max() < 0.34
    assert 0.27 < ratios.min() < 0.33
    assert 2.9 < ratios.max() < 3.5
    assert abs(np.log(ratios).mean()) < 0.06
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [60, 80]).all()
    assert boxes[erased, 3].max() == 80


def test_partners_are_others_and_each_is_taken_once() -> None:
    batch = made(NONE, MixSpec(mixup=0.5))
    partners = batch.targets["other_labels"]
    assert sorted(partners) == list(range(MANY))
    assert (partners != np.arange(MANY)).all()
    np.testing.assert_array_equal(batch.draws["partner"], batch.inputs["input"][partners])


def test_a_partner_is_moved_and_erased_as_it_is_in_its_own_place() -> None:
    batch = made(ALL, MixSpec(cutmix=1.0))
    partners = batch.targets["other_labels"]
    for name in ("map", "erase"):
        np.testing.assert_array_equal(batch.draws[f"partner_{name}"], batch.draws[name][partners])


def test_mixup_keeps_a_beta_share_of_each_sample() -> None:
    batch = made(NONE, MixSpec(mixup=0.4))
    keep = batch.draws["keep"]
    np.testing.assert_array_equal(keep, batch.targets["share"])
    # Variance of Beta(a, a): 1 / (4 (2a + 1)).
    assert abs(keep.mean() - 0.5) < 0.05
    assert abs(keep.var() - 1 / (4 * 1.8)) < 0.02


def test_cutmix_shares_are_those_of_the_clipped_areas() -> None:
    batch = made(NONE, MixSpec(cutmix=1.0))
    boxes, share = batch.draws["box"].astype(int), batch.targets["share"]
    for (top, left, bottom, right), kept in zip(boxes, share, strict=True):
        inside = np.zeros((8, 10))
        inside[top:bottom, left:right] = 1
        assert kept == pytest.approx(1 - inside.mean(), abs=1e-6)
        assert 0 <= top <= bottom <= 8
        assert 0 <= left <= right <= 10
    assert 0.4 < share.mean() < 0.85


def test_specmix_shares_are_the_mean_of_the_mask_over_a_samples_own_frames() -> None:
    batch = made(NONE, MixSpec(specmix=0.4), batch=speech())
    lengths, shared = batch.inputs["lengths"], batch.draws["shared"]
    partners = batch.targets["other_labels"]
    np.testing.assert_array_equal(shared, np.minimum(lengths, lengths[partners]))
    counts = set()
    for sample, length in enumerate(lengths):
        mask = np.ones((length, 12))
        for start, end in batch.draws["mix_time"][sample]:
            assert 0 <= start <= end <= shared[sample]
            assert end - start <= 0.4 * shared[sample]
            mask[start:end] = 0
        for start, end in batch.draws["mix_frequency"][sample]:
            assert 0 <= start <= end <= 12
            assert end - start <= 0.4 * 12
            mask[: shared[sample], start:end] = 0
        counts.add(int((np.diff(batch.draws["mix_frequency"][sample]) > 0).sum()))
        assert batch.targets["share"][sample] == pytest.approx(mask.mean(), abs=1e-6)
    assert counts == {0, 1, 2, 3}


def test_each_batch_draws_one_blend_and_some_draw_none() -> None:
    mix = MixSpec(mixup=1.0, cutmix=1.0, probability=0.6)
    found = {"mixup": 0, "cutmix": 0, "none": 0}
    for step in range(300):
        batch = made(NONE, mix, batch=pictures(4), step=step)
        assert set(batch.draws) == {"partner", "keep", "box"}
        mixed, cut = (
            bool((batch.draws["keep"] < 1).any()),
            bool((np.diff(batch.draws["box"].reshape(-1, 2, 2), axis=1) > 0).all(2).any()),
        )
        assert not (mixed and cut)
        found["mixup" if mixed else "cutmix" if cut else "none"] += 1
    assert abs(found["mixup"] - 90) < 30
    assert abs(found["cutmix"] - 90) < 30
    assert abs(found["none"] - 120) < 30


def test_a_partner_whose_labels_need_more_frames_than_there_are_is_left_out() -> None:
    batch = speech(2)
    targets = {
        "labels": np.array([[1, 1, 1, 2], [1, 2, 0, 0]]),
        "label_lengths": np.array([4, 2]),
        "frame_lengths": np.array([9, 5]),
    }
    fits = made(NONE, MixSpec(specmix=0.4), batch=replace(batch, targets=targets | {"frame_lengths": np.array([9, 6])}))
    np.testing.assert_array_equal(fits.targets["other_label_lengths"], [2, 4])
    # 1 1 1 2 needs a blank between equal labels twice: six frames.
    short = made(NONE, MixSpec(specmix=0.4), batch=replace(batch, targets=targets))
    np.testing.assert_array_equal(short.targets["other_label_lengths"], [2, 2])
    np.testing.assert_array_equal(short.draws["partner"][1], batch.inputs["features"][1])


def test_masks_are_narrower_than_the_spec_and_within_the_recording() -> None:
    lengths = np.random.default_rng(1).integers(1, 200, 3000)
    spec = MaskSpec(frequency_masks=2, frequency_width=7, time_masks=3, time_width=30, time_share=0.2)
    masks = draw_masks(spec, lengths, 20, np.random.default_rng(0))
    assert {name: bands.shape for name, bands in masks.items()} == {
        "mask_frequency": (3000, 2, 2),
        "mask_time": (3000, 3, 2),
    }
    frequency, time = (np.diff(masks[name])[..., 0] for name in ("mask_frequency", "mask_time"))
    assert set(frequency.ravel()) == set(range(7))
    assert set(time.ravel()) == set(range(30))
    assert (time <= 0.2 * lengths[:, None]).all()
    assert (masks["mask_time"][:, :, 1] <= lengths[:, None]).all()
    # A band that stands at U[0, 20 - f) never touches the last feature, as the paper has it.
    assert masks["mask_frequency"][..., 1].max() == 19


def test_labels_of_pixels_move_with_their_picture() -> None:
    labels = np.arange(64).reshape(1, 8, 8)
    spec = replace(NONE, flip=1.0)
    batch = Batch(inputs={"input": np.zeros((1, 3, 8, 8), np.uint8)}, targets={"labels": labels})
    np.testing.assert_array_equal(made(spec, batch=batch).targets["labels"], labels[..., ::-1])
    shifted = move_labels(labels, np.array([[[1, 0, 3.4], [0, 1, 0]]], np.float32), IGNORED)
    np.testing.assert_array_equal(shifted[..., :5], labels[..., 3:])
    assert (shifted[..., 5:] == IGNORED).all()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"augment": replace(NONE, flip=0.5), "batch": speech(2)}, "train.augment.flip: takes pictures"),
        ({"augment": replace(NONE, erase=0.5), "batch": speech(2)}, "train.augment.erase: takes pictures"),
        ({"mix": MixSpec(cutmix=1), "batch": speech(2)}, "train.mix.cutmix: takes pictures"),
        ({"mix": MixSpec(specmix=0.3)}, "train.mix.specmix: takes features"),
        ({"mask": MaskSpec(time_masks=1)}, "train.mask: takes features"),
        ({"mix": MixSpec(mixup=1), "batch": Batch(inputs={"tokens": np.ones((2, 3), int)}, targets={})}, "tokens"),
        ({"mix": MixSpec(mixup=1), "batch": replace(pictures(2), targets={"boxes": np.ones(2)})}, "boxes"),
        (
            {"mix": MixSpec(cutmix=1), "batch": replace(pictures(2), targets={"labels": np.ones((2, 8, 10), int)})},
            "single pixels",
        ),
        (
            {"augment": AugmentSpec(), "batch": replace(pictures(2), targets={"labels": np.ones((2, 4, 5), int)})},
            "resize them",
        ),
        (
            {"mix": MixSpec(mixup=1), "batch": Batch(inputs={"a": np.ones((2, 3)), "b": np.ones((2, 3))}, targets={})},
            "blends one input, and this model has b besides",
        ),
    ],
)
def test_what_does_not_fit_the_samples_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        made(**more)

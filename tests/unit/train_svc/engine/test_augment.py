import torch

from services.train_svc.engine.augment import augment
from services.train_svc.engine.spec import AugmentSpec

NONE = AugmentSpec(shift_pixels=0, rotate_degrees=0, scale=0)


def test_no_changes_leave_the_pictures_alone() -> None:
    pictures = torch.rand(3, 1, 8, 8)
    assert augment(pictures, NONE, 1) is pictures


def test_the_seed_decides_everything() -> None:
    pictures = torch.rand(3, 2, 8, 6)
    assert torch.equal(augment(pictures, AugmentSpec(), 1), augment(pictures, AugmentSpec(), 1))
    assert not torch.equal(augment(pictures, AugmentSpec(), 1), augment(pictures, AugmentSpec(), 2))


def test_a_shift_is_in_pixels_on_each_side() -> None:
    pictures = torch.zeros(200, 1, 8, 32)
    pictures[:, :, 4, 16] = 1
    moved = augment(pictures, AugmentSpec(shift_pixels=2, rotate_degrees=0, scale=0), 3)
    rows = (moved.sum(3) * torch.arange(8)).sum((1, 2)) / moved.sum((1, 2, 3))
    columns = (moved.sum(2) * torch.arange(32)).sum((1, 2)) / moved.sum((1, 2, 3))
    for places, start in ((rows, 4), (columns, 16)):
        assert 1.5 < float((places - start).abs().max()) < 2.01


def test_a_turn_keeps_its_shape_in_pictures_that_are_no_squares() -> None:
    pictures = torch.zeros(1, 1, 16, 64)
    pictures[:, :, 8, 24:40] = 1
    turned = augment(pictures.expand(50, 1, 16, 64), AugmentSpec(shift_pixels=0, rotate_degrees=30, scale=0), 5)
    assert float((turned.sum((1, 2, 3)) - 16).abs().max()) < 1.5


def test_borders_come_in_black_or_as_the_nearest_pixel() -> None:
    white = torch.ones(20, 1, 8, 8)
    shift = {"shift_pixels": 3.0, "rotate_degrees": 0.0, "scale": 0.0}
    assert augment(white, AugmentSpec(padding="zeros", **shift), 1).min() == 0
    assert augment(white, AugmentSpec(padding="border", **shift), 1).min() > 0.999

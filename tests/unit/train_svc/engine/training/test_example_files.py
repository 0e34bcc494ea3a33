"""examples/02-image-classification: its files are sound, and its folder is laid out as ImageNet is."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from services.train_svc.engine.loading.folder import open_folder
from services.train_svc.engine.spec import AugmentSpec, MixSpec
from services.train_svc.engine.summary import summarize
from services.train_svc.engine.training.jobfile import read_jobfile

EXAMPLE = Path(__file__).parents[5] / "examples" / "02-image-classification"
RESNET_152 = 60_192_808
"""Parameters with 1000 classes (torchvision, Hugging Face)."""


@pytest.fixture(scope="module")
def prepare() -> Callable[[Path], int]:
    spec = importlib.util.spec_from_file_location("prepare_digits", EXAMPLE / "prepare.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    prepare: Callable[[Path], int] = module.prepare
    return prepare


def test_the_imagenet_file_trains_resnet_152_at_224_pixels() -> None:
    spec = read_jobfile(EXAMPLE / "imagenet.yaml").train
    # As of a folder whose pictures differ in size, which are read at 64 x 64 unless the model says another.
    description = spec.model.describe((3, 64, 64), classes=1000)
    assert description.input_shape == (3, 224, 224)
    assert summarize(description).parameters == RESNET_152


def test_the_imagenet_file_is_the_recipe_that_it_tells() -> None:
    spec = read_jobfile(EXAMPLE / "imagenet.yaml").train
    assert (spec.batch_size, spec.accumulate, spec.epochs, spec.precision.name) == (1024, 4, 120, "bf16")
    assert (spec.optimizer.name, spec.optimizer.lr, spec.optimizer.weight_decay) == ("sgd", 0.4, 1e-4)
    assert (spec.label_smoothing, spec.ema_decay) == (0.1, 0.9999)
    wanted = AugmentSpec(shift_pixels=0, rotate_degrees=0, scale=0, crop_scale=0.08, flip=0.5, erase=0.1)
    assert spec.augment == wanted
    assert spec.mix == MixSpec(mixup=0.2, cutmix=1.0)


def test_the_digits_lie_in_the_layout_of_imagenet(prepare: Callable[[Path], int], tmp_path: Path) -> None:
    assert prepare(tmp_path) == 1797
    found = open_folder(tmp_path)
    assert {split: len(found[split]) for split in found.files} == {"train": 1269, "validation": 267, "test": 261}
    assert found.shape == (1, 8, 8)
    assert list(found.labels) == [str(digit) for digit in range(10)]
    assert prepare(tmp_path) == 0


def test_the_digits_file_trains_what_the_readme_says() -> None:
    job = read_jobfile(EXAMPLE / "train.yaml")
    assert job.data.folder == str(EXAMPLE / "data" / "digits")
    assert job.train.augment.erase > 0
    assert job.train.mix.cutmix > 0
    assert job.train.ema_decay > 0
    assert job.train.label_smoothing == 0.1

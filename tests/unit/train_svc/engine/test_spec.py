import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.reading import read
from services.train_svc.engine.spec import ModelSpec, OptimizerSpec, ScheduleSpec, TrainSpec
from services.train_svc.service.specs import check_spec


def faults(value: object) -> dict[str, str]:
    with pytest.raises(InvalidError) as caught:
        TrainSpec.from_mapping(value)
    return {fault.field: fault.message for fault in caught.value.violations}


def test_an_empty_section_is_a_whole_spec() -> None:
    spec = TrainSpec.from_mapping({})
    assert (spec.model.template, spec.engine) == ("resnet_small", "torch")


def test_a_spec_survives_the_way_to_json_and_back() -> None:
    spec = TrainSpec.from_mapping({"model": {"template": "mlp", "hidden": [32]}, "optimizer": {"lr": 1e-3}})
    assert TrainSpec.from_mapping(spec.to_data()) == spec


def test_all_faults_are_named_at_once_with_their_paths_and_the_nearest_name() -> None:
    found = faults(
        {
            "epocs": 3,
            "batch_size": 0,
            "optimizer": {"name": "adam", "lr": -1},
            "schedule": {"warmup": 1},
            "seed": "x",
            "model": {"template": "resnet_smal"},
        }
    )
    assert set(found) == {
        "train.epocs",
        "train.batch_size",
        "train.optimizer.name",
        "train.optimizer.lr",
        "train.schedule.warmup",
        "train.seed",
        "train.model.template",
    }
    assert "did you mean 'epochs'" in found["train.epocs"]
    assert "did you mean 'adamw'" in found["train.optimizer.name"]
    assert "did you mean 'resnet_small'" in found["train.model.template"]
    assert found["train.batch_size"] == "got 0, wanted at least 2 and at most 65536"
    assert found["train.seed"] == "got 'x', wanted a whole number"


def test_an_unknown_option_of_a_template_is_named_under_the_model() -> None:
    found = faults({"model": {"template": "resnet_small", "widht": 8}})
    assert list(found) == ["train.model.widht"]
    assert "did you mean 'width'" in found["train.model.widht"]


def test_a_rate_that_yaml_reads_as_text_is_a_number() -> None:
    assert TrainSpec.from_mapping({"optimizer": {"lr": "3e-3"}}).optimizer.lr == 3e-3


@pytest.mark.parametrize("value", [True, "1.5", [1], None, 1.5])
def test_epochs_are_a_whole_number(value: object) -> None:
    assert list(faults({"epochs": value})) == ["train.epochs"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "fast", True, 0])
def test_a_learning_rate_is_a_number_above_zero(value: object) -> None:
    assert list(faults({"optimizer": {"lr": value}})) == ["train.optimizer.lr"]


@pytest.mark.parametrize("value", [3, "resnet_small", None, []])
def test_a_section_that_is_no_mapping_is_refused(value: object) -> None:
    assert list(faults(value)) == ["train"]


@pytest.mark.parametrize("key", ["epochs", "batch_size", "seed", "label_smoothing"])
def test_one_setting_alone_is_enough(key: str) -> None:
    smallest = {"epochs": 1, "batch_size": 2, "seed": 0, "label_smoothing": 0}
    assert getattr(TrainSpec.from_mapping({key: smallest[key]}), key) == smallest[key]


def test_a_name_that_cannot_be_a_models_is_refused() -> None:
    assert list(faults({"model_name": "../digits"})) == ["train.model_name"]


def test_a_spec_made_in_python_is_checked_too() -> None:
    with pytest.raises(InvalidError, match="lr: got 0"):
        OptimizerSpec(lr=0)
    with pytest.raises(InvalidError, match="did you mean 'cosine'"):
        ScheduleSpec(name="cosin")  # type: ignore[arg-type]  # the fault under test


def test_the_model_takes_its_picture_size_and_classes_from_the_dataset() -> None:
    description = read(TrainSpec, {"model": "mlp"}, "train").model.describe((3, 16, 12), 5)
    assert (description.input_shape, description.output_shape) == ((3, 16, 12), (5,))


def test_pictures_of_different_sizes_need_a_size_in_the_spec() -> None:
    with pytest.raises(InvalidError, match="image_height, image_width, and they are resized"):
        TrainSpec.from_mapping({"model": {"template": "mlp", "in_channels": 1}}).model.describe(None, 5)


def test_a_model_with_another_number_of_classes_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"the model gives \[7\], wanted \[5\]"):
        ModelSpec(template="mlp", overrides={"num_classes": 7}).describe((1, 8, 8), 5)


def test_a_model_written_out_is_checked_where_it_stands() -> None:
    body = ["flatten", {"linear": {"out_feature": 10}}]
    found = faults({"model": {"name": "mine", "input_shape": [1, 8, 8], "body": body}})
    assert "did you mean 'out_features'" in found["train.model.body[1].linear.out_feature"]


def test_where_a_run_is_carried_out_is_no_part_of_its_digest() -> None:
    spec = TrainSpec()
    assert TrainSpec(threads=4, model_name="other").digest == spec.digest
    assert TrainSpec(seed=1).digest != spec.digest


def test_a_template_that_is_no_classifier_of_pictures_is_refused_before_anything_runs() -> None:
    with pytest.raises(InvalidError, match="bert is no classifier of pictures, which the data are; use one of conv"):
        check_spec({"model": "bert"})

from pathlib import Path

import pytest

from services.common.errors import InvalidError, NotFoundError
from services.train_svc.engine.architecture import Description, from_yaml, read_description, to_yaml
from services.train_svc.engine.architecture.blocks.combine import Residual
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.elementwise import Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.templates import describe, templates


def faults(value: object) -> dict[str, str]:
    with pytest.raises(InvalidError) as caught:
        read_description(value)
    return {fault.field: fault.message for fault in caught.value.violations}


def picture(*body: object) -> dict[str, object]:
    return {"name": "mine", "input_shape": [1, 8, 8], "body": list(body)}


@pytest.mark.parametrize("name", [template.name for template in templates()])
def test_yaml_and_python_are_one_to_one(name: str, tmp_path: Path) -> None:
    description = describe(name)
    assert from_yaml(to_yaml(description)) == description
    file = tmp_path / "architecture.yaml"
    file.write_text(str(description))
    assert from_yaml(file) == description


@pytest.mark.parametrize(("name", "size"), [(t.name, size) for t in templates() for size in t.sizes])
def test_every_standard_size_is_sound_and_survives_yaml(name: str, size: str) -> None:
    description = describe(name, size=size)
    assert description.root.parameter_count > 0
    assert from_yaml(to_yaml(description)) == description
    # Its own usual sizes fit it.
    assert description.resolve(description.typical).total_multiply_adds > 0


def test_an_override_of_one_nested_option_leaves_the_others_of_the_size() -> None:
    wide = describe("conformer", size="small", encoder={"num_layers": 1})
    assert wide.root.parameter_count < describe("conformer", size="small").root.parameter_count
    assert str(wide).count("144") > 0


def test_resolving_at_some_sizes_leaves_the_description_open() -> None:
    description = describe("bert", num_layers=1)
    assert description.resolve({"time": 7}).children["encoder"].output_shape == (7, 768)
    assert description.output_shapes == {"hidden": (None, 768), "pooled": (768,)}


def test_titles_name_templates_too() -> None:
    assert describe("ResNet", size="18") == describe("resnet", size="18")
    assert describe("resnet-small") == describe("resnet_small")


def test_what_a_block_refers_to_must_come_before_it() -> None:
    found = faults(picture({"save": {"value": "kept"}}, {"load": {"value": "kep"}}))
    assert "there is no value 'kep' here; did you mean 'kept'?" in found["body[1].load"]
    tied = {"name": "x", "inputs": {"ids": {"shape": ["time"], "dtype": "int64"}},
            "body": [{"embedding": {"vocab_size": 5, "features": 4}}, {"tied_linear": {"of": "embeding"}}]}  # fmt: skip
    assert "did you mean 'embedding'" in faults(tied)["body[1].tied_linear"]


def test_inputs_are_given_in_one_way() -> None:
    both = {"name": "x", "input_shape": [3], "inputs": {"a": {"shape": [3]}}, "body": ["relu"]}
    assert "give either `input_shape`" in faults(both)["inputs"]
    assert "give either" in faults({"name": "x", "body": ["relu"]})["inputs"]
    lengths = {"a": {"shape": ["time", 3]}, "n": {"shape": [], "dtype": "int64", "lengths_of": "b"}}
    assert "there is no input 'b'" in faults({"name": "x", "inputs": lengths, "body": ["relu"]})["inputs.n.lengths_of"]


def test_a_name_that_modules_have_for_themselves_is_refused() -> None:
    assert "modules have for themselves" in faults(picture({"relu": {"name": "train"}}))["body[0].name"]


def test_a_fault_names_path_what_was_got_and_what_was_wanted() -> None:
    found = faults(picture("conv2b", {"linear": {"out_feature": 3}}, {"conv2d": {"out_channels": "x"}}, 7))
    assert "did you mean 'conv2d'" in found["body[0]"]
    assert "did you mean 'out_features'" in found["body[1].linear.out_feature"]
    assert found["body[1].linear.out_features"] == "is required and is not given"
    assert found["body[2].conv2d.out_channels"] == "got 'x', wanted a whole number"
    assert "wanted one block" in found["body[3]"]


def test_shapes_are_checked_before_anything_is_built() -> None:
    assert (
        "put 'flatten' or 'global_avg_pool' before it"
        in faults(picture({"linear": {"out_features": 3}}))["body[0].linear"]
    )
    assert "[features]" not in faults(picture("global_avg_pool", "global_avg_pool"))["body[1].global_avg_pool"]
    assert "does not fit into 8 pixels" in faults(picture({"max_pool2d": {"kernel_size": 9}}))["body[0].max_pool2d"]


def test_a_residual_whose_branches_differ_says_both_shapes() -> None:
    found = faults(picture("relu", {"residual": {"body": [{"conv2d": {"out_channels": 4}}]}}))
    assert "the body makes [4, 8, 8] and the shortcut [1, 8, 8]" in found["body[1].residual"]


def test_a_fault_deep_inside_has_its_whole_path() -> None:
    inner = {"sequential": {"body": [{"residual": {"body": [{"linear": {"out_features": 2}}]}}]}}
    assert list(faults(picture(inner))) == ["body[0].sequential.body[0].residual.body[0].linear"]


def test_two_blocks_of_one_name_are_refused() -> None:
    found = faults(picture({"relu": {"name": "act"}}, {"dropout": {"name": "act"}}))
    assert "is taken by another block" in found["body[1].name"]


def test_a_name_that_cannot_be_a_parameters_is_refused() -> None:
    assert list(faults(picture({"relu": {"name": "a.b"}}))) == ["body[0].name"]


def test_an_empty_model_is_refused() -> None:
    assert list(faults(picture())) == ["body"]


def test_text_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(InvalidError, match="is not YAML"):
        from_yaml("body: [")


def test_blocks_made_in_python_are_checked() -> None:
    with pytest.raises(InvalidError, match="out_channels: got 0"):
        Conv2d(out_channels=0)
    residual = Residual(body=(Conv2d(out_channels=2), Relu()), shortcut=(Conv2d(out_channels=2, kernel_size=1),))
    assert Description(name="x", input_shape=(1, 5, 7), body=(residual,)).output_shape == (2, 5, 7)
    with pytest.raises(InvalidError, match="put 'flatten'"):
        Description(name="x", input_shape=(1, 5, 7), body=(Linear(out_features=2),))


def test_strides_halve_and_odd_sizes_round_up() -> None:
    body = (Conv2d(out_channels=2, stride=2),)
    assert Description(name="x", input_shape=(1, 7, 8), body=body).output_shape == (2, 4, 4)


def test_an_unknown_template_or_size_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'resnet_small'"):
        describe("resnet_smal")
    with pytest.raises(NotFoundError, match="did you mean 'digits'"):
        describe("resnet_small", size="digit")


def test_overrides_change_a_template() -> None:
    description = describe("resnet_small", num_classes=3, in_channels=3, image_height=32, image_width=32, stages=3)
    assert (description.input_shape, description.output_shape) == ((3, 32, 32), (3,))


def test_a_picture_too_small_for_the_stages_still_has_a_pixel() -> None:
    assert describe("resnet_small", image_height=2, image_width=2, stages=4).output_shape == (10,)

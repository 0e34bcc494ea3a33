import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from modelwright.compress import quantize, report_card, to_fp16
from services.common.errors import InvalidError
from services.compress_svc.engine.calibration import observe
from services.compress_svc.engine.compression import Compressor, Outcome, Parent
from services.compress_svc.engine.graph import Session, tidy
from services.compress_svc.engine.int8 import prepare
from services.compress_svc.engine.progress import Stopped, Watch
from services.compress_svc.engine.recipe import Recipe

Digits = Any
"""What the fixture `digits` gives; test modules import nothing from one another."""
Feeds = dict[str, NDArray[np.float32]]


def batches(pictures: NDArray[np.float32], size: int = 32) -> list[Feeds]:
    return [{"input": pictures[i : i + size]} for i in range(0, len(pictures), size)]


def labelled(digits: Digits) -> list[tuple[Feeds, NDArray[np.int64]]]:
    return [
        ({"input": digits.test[i : i + 64]}, digits.test_labels[i : i + 64]) for i in range(0, len(digits.test), 64)
    ]


def compressor(digits: Digits, variants: list[Any], model: bytes | None = None, **recipe: Any) -> Compressor:
    return Compressor(
        Parent(model=model or digits.model, golden_inputs={"input": digits.test[:8]}),
        Recipe.from_mapping({"variants": variants, "latency_runs": 20, "warmup_runs": 2} | recipe),
        calibration=batches(digits.train),
        evaluation=labelled(digits),
    )


@pytest.fixture(scope="module")
def outcomes(digits: Digits) -> dict[str, Outcome]:
    methods = [{"name": f"int8-{name}", "calibration": name} for name in ("minmax", "percentile", "entropy", "mse")]
    return {found.recipe.name: found for found in compressor(digits, ["fp32", *methods, "fp16"]).run()}


def test_every_variant_is_made_and_runs_with_the_parents_answers(outcomes: dict[str, Outcome], digits: Digits) -> None:
    assert [name for name, found in outcomes.items() if found.failed] == []
    for found in outcomes.values():
        answers = Session(found.model).run({"input": digits.test[:8]})
        assert np.array_equal(answers["logits"], found.golden_outputs["logits"])
        assert found.card["deviation"]["agreement"] == 1.0
        assert found.card["deviation"]["relative"] < 0.05


def test_accuracy_is_kept_and_its_drop_has_an_interval(outcomes: dict[str, Outcome], digits: Digits) -> None:
    for found in outcomes.values():
        accuracy, drop = found.card["metrics"]["accuracy"], found.card["accuracy_drop"]
        assert accuracy["samples"] == len(digits.test)
        assert accuracy["value"] > 0.95
        assert drop["ci_low"] <= drop["value"] <= drop["ci_high"]
        assert drop["value"] == pytest.approx(found.card["parent_metrics"]["accuracy"]["value"] - accuracy["value"])
        assert drop["value"] <= 0.02


def test_sizes_are_the_files_and_shrink(outcomes: dict[str, Outcome], digits: Digits) -> None:
    ratio = {name: found.card["size_ratio"] for name, found in outcomes.items()}
    assert ratio["fp32"] == 1.0
    assert ratio["fp16"] < 0.55
    assert ratio["int8-mse"] < 0.35
    assert outcomes["fp32"].model == digits.model


def test_latency_names_the_device_and_how_it_was_measured(outcomes: dict[str, Outcome]) -> None:
    for found in outcomes.values():
        (latency,) = found.card["latency"]
        assert latency["device"]
        assert (latency["threads"], latency["batch"], latency["runs"]) == (1, 1, 20)
        assert 0 < latency["p50_ms"] <= latency["p99_ms"]
        assert found.card["speedup"] == found.card["speedup_interval"]["value"]
        assert found.card["speedup_interval"]["ci_low"] <= found.card["speedup_interval"]["ci_high"]


def test_the_card_is_json(outcomes: dict[str, Outcome]) -> None:
    for found in outcomes.values():
        assert json.loads(json.dumps(found.card)) == found.card


def test_the_verdict_names_its_figures(outcomes: dict[str, Outcome]) -> None:
    for name, found in outcomes.items():
        if name != "fp32":
            assert "x the speed" in found.verdict.reason
            assert "x its size" in found.verdict.reason
            assert "accuracy" in found.verdict.reason


def test_int8_weights_are_s8_per_channel_and_activations_u8(outcomes: dict[str, Outcome]) -> None:
    proto = onnx.load_model_from_string(outcomes["int8-mse"].model)
    weights = {item.name: item for item in proto.graph.initializer}
    scaled = [node for node in proto.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights]
    kernels = [weights[node.input[0]] for node in scaled if weights[node.input[0]].data_type == TensorProto.INT8]
    assert len(kernels) == 4
    assert all(weights[node.input[1]].dims for node in scaled if weights[node.input[0]].data_type == TensorProto.INT8)
    points = [weights[n.input[2]].data_type for n in proto.graph.node if n.op_type == "QuantizeLinear"]
    assert set(points) == {TensorProto.UINT8}
    assert not [node for node in proto.graph.node if node.op_type == "BatchNormalization"]


def test_the_same_calibration_gives_the_same_bytes(digits: Digits) -> None:
    first = quantize(digits.model, batches(digits.train[:64]))
    assert first == quantize(digits.model, batches(digits.train[:64], size=7))


def test_a_recipe_failing_in_one_variant_keeps_the_others(digits: Digits) -> None:
    made = list(compressor(digits, [{"name": "int8", "exclude_nodes": ["/3/Cnv"]}, "fp16"]).run())
    assert [found.failed for found in made] == [True, False]
    assert "no node is named '/3/Cnv'; did you mean '/3/Conv'?" in made[0].verdict.reason
    assert made[0].card["verdict"]["pays"] is False


def test_a_variant_that_loses_too_much_does_not_pay(digits: Digits) -> None:
    # Ranges found on nearly black pictures clip everything else away.
    dark = Compressor(
        Parent(model=digits.model, golden_inputs={"input": digits.test[:8]}),
        Recipe.from_mapping({"variants": ["int8"], "latency_runs": 10}),
        calibration=[{"input": np.full((8, 1, 8, 8), -0.01, np.float32)}],
        evaluation=labelled(digits),
    )
    (found,) = dark.run()
    assert not found.failed
    assert not found.verdict.pays
    assert "Does not pay" in found.verdict.reason
    assert "more than the 0.01 allowed" in found.verdict.reason


def test_finished_variants_are_passed_over_and_progress_rises(digits: Digits) -> None:
    seen: list[float] = []
    watch = Watch(report=lambda fraction, _: seen.append(fraction))
    made = list(compressor(digits, ["fp32", "int8", "fp16"]).run(watch, done=frozenset({"fp32", "int8"})))
    assert [found.recipe.name for found in made] == ["fp16"]
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_stop_leaves_off_and_keeps_what_was_made(digits: Digits) -> None:
    made: list[Outcome] = []
    running = compressor(digits, ["fp32", "int8", "fp16"]).run(Watch(stop_requested=lambda: bool(made)))
    made.append(next(running))
    with pytest.raises(Stopped):
        next(running)
    assert [found.recipe.name for found in made] == ["fp32"]


def test_without_labelled_samples_the_card_leaves_accuracy_out(digits: Digits) -> None:
    card = report_card(digits.model, to_fp16(digits.model), {"input": digits.test[:4]}, latency_runs=10)
    assert "metrics" not in card
    assert "accuracy was not measured" in card["verdict"]["reason"]


def test_an_iterator_that_runs_dry_is_told_apart(digits: Digits) -> None:
    with pytest.raises(InvalidError, match="second pass of calibration got 0 samples, the first 64"):
        quantize(digits.model, iter(batches(digits.train[:64])))


def test_a_function_gives_fresh_batches(digits: Digits) -> None:
    def fresh() -> Iterator[Feeds]:
        yield from batches(digits.train[:64])

    assert quantize(digits.model, fresh) == quantize(digits.model, batches(digits.train[:64]))


def test_calibration_without_samples_says_so(digits: Digits) -> None:
    with pytest.raises(InvalidError, match="no samples"):
        quantize(digits.model, [])


def matmul_over_any_length() -> bytes:
    weight = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="project")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "length", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "length", 4])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def test_samples_of_different_length_are_calibrated_together() -> None:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.normal(size=(2, length, 6)).astype(np.float32)} for length in (3, 11, 5)]
    small = quantize(matmul_over_any_length(), samples)
    wanted, got = Session(matmul_over_any_length()).run(samples[1])["y"], Session(small).run(samples[1])["y"]
    assert np.allclose(got, wanted, atol=0.1)


def test_calibration_sees_every_sample_once_a_pass(digits: Digits) -> None:
    proto, tensors = prepare(digits.model)
    seen = observe(proto, tensors, batches(digits.train[:100], size=33))
    assert seen.samples == 100
    assert seen.histograms["input"].counts.sum() + seen.histograms["input"].zeros == 100 * 64


def test_batch_norm_is_merged_before_quantisation(digits: Digits) -> None:
    assert {node.op_type for node in tidy(digits.model).graph.node} == {
        "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm",
    }  # fmt: skip


def test_a_model_with_nothing_to_quantise_is_named() -> None:
    graph = helper.make_graph(
        [helper.make_node("Sigmoid", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(InvalidError, match="no Conv"):
        quantize(model.SerializeToString(), [{"x": np.zeros((1, 3), np.float32)}])


@pytest.mark.parametrize("data", [b"", b"not a model"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidError):
        quantize(data, [{"x": np.zeros((1, 3), np.float32)}])


def test_an_old_opset_says_what_to_export_with(digits: Digits) -> None:
    proto = onnx.load_model_from_string(digits.model)
    proto.opset_import[0].version = 11
    with pytest.raises(InvalidError, match="opset 11; export it with opset 13"):
        quantize(proto.SerializeToString(), batches(digits.train[:8]))


def test_weights_beyond_half_precision_are_named() -> None:
    proto = onnx.load_model_from_string(matmul_over_any_length())
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((6, 4), 1e6, np.float32), "w"))
    with pytest.raises(InvalidError, match="weight 'w' reaches 1e\\+06"):
        to_fp16(proto.SerializeToString())


def test_variants_carry_no_notes_of_the_exporter(digits: Digits) -> None:
    proto = onnx.load_model_from_string(digits.model)
    for node in proto.graph.node:
        node.doc_string = "a stack trace with the paths of somebody's machine"
        node.metadata_props.add(key="stack_trace", value="the same again")
    noted = proto.SerializeToString()
    for small in (to_fp16(noted), quantize(noted, batches(digits.train[:32]))):
        assert b"stack" not in small

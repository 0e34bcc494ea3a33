"""Compression as plain functions over an ONNX file, its bytes or a model package."""

from os import PathLike
from pathlib import Path
from typing import Any

from services.common.errors import NotFoundError
from services.compress_svc.engine import fp16, int8
from services.compress_svc.engine.calibration import Batches
from services.compress_svc.engine.card import Figures, judge
from services.compress_svc.engine.card import report_card as card_of
from services.compress_svc.engine.compression import measure
from services.compress_svc.engine.evaluation import Evaluation
from services.compress_svc.engine.graph import Feeds
from services.compress_svc.engine.recipe import Calibration, Recipe, VariantRecipe

Model = bytes | str | PathLike[str]
"""The bytes of an ONNX model, its file, or the folder of a package (which holds `model.onnx`)."""


def quantize(
    model: Model,
    calibration_batches: Batches,
    *,
    calibration: Calibration = "mse",
    percentile: float = 99.99,
    reduce_range: bool = False,
    exclude_nodes: tuple[str, ...] = (),
) -> bytes:
    """Return the model in INT8 (static QDQ: u8 activations, s8 weights per channel).

    Args:
        model: float32, opset 13 or later.
        calibration_batches: a list of `{input name: array}`, batch first, or a function that returns a fresh iterator;
            gone through twice. Some hundred training samples, preprocessed as in use.
        calibration: how activation ranges are chosen: minmax, percentile, entropy or mse.
        percentile: for `percentile`, per cent of values kept.
        reduce_range: weights of 7 bits, for x86 without VNNI.
        exclude_nodes: names of nodes left in float32.

    Raises:
        InvalidError: the model or the batches are unfit; the message says how.
    """
    recipe = VariantRecipe(
        name="int8",
        kind="int8",
        calibration=calibration,
        percentile=percentile,
        reduce_range=reduce_range,
        exclude_nodes=exclude_nodes,
    )
    return int8.quantise(_read(model), recipe, calibration_batches)


def to_fp16(model: Model) -> bytes:
    """Return the model with float16 inside; inputs and outputs stay float32.

    Raises:
        InvalidError: the model is unfit; the message says how.
    """
    return fp16.to_half(_read(model))


def report_card(
    parent: Model,
    variant: Model,
    golden_inputs: Feeds,
    evaluation: Evaluation = (),
    *,
    name: str = "variant",
    latency_runs: int = 300,
    threads: int = 1,
    max_accuracy_drop: float = 0.01,
) -> dict[str, Any]:
    """Return what the variant costs and brings on this machine, with a verdict.

    Args:
        parent: the model that it was made from.
        variant: the smaller model.
        golden_inputs: a few inputs, batch first; answers are compared on all, latency measured on the first.
        evaluation: `({input name: array}, class indices)` batches of the test split; without any, no accuracy.
        name: the variant's name in the card.
        latency_runs: timed runs of each, interleaved.
        threads: threads of the runtime.
        max_accuracy_drop: a greater loss does not pay.
    """
    recipe = Recipe(variants=(), latency_runs=latency_runs, threads=threads, max_accuracy_drop=max_accuracy_drop)
    figures: Figures = measure(_read(parent), _read(variant), golden_inputs, evaluation, name=name, recipe=recipe)
    return card_of(figures, judge(figures, max_accuracy_drop))


def _read(model: Model) -> bytes:
    if isinstance(model, bytes):
        return model
    path = Path(model)
    path = path / "model.onnx" if path.is_dir() else path
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; give an ONNX file, its bytes, or a package folder")
    return path.read_bytes()

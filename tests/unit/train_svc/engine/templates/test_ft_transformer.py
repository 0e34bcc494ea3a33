from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_parity, close, on_torch, pair

SMALL: dict[str, Any] = {"num_layers": 2, "d_model": 16, "attention_heads": 4, "feed_forward": 20, "num_classes": 3,
                         "dropout": 0.0, "attention_dropout": 0.0}  # fmt: skip
COLUMNS: list[dict[str, Any]] = [
    {"numbers": 3, "cardinalities": [4, 6]},
    {"numbers": 5},
    {"numbers": 0, "cardinalities": [4, 6, 5]},
]
Array = npt.NDArray[Any]


@pytest.mark.parametrize(
    ("size", "columns", "count"),
    [("3", {"numbers": 8}, 894_913), ("3", {"numbers": 6, "cardinalities": [9, 16], "num_classes": 2}, 899_522),
     ("1", {"numbers": 8}, 76_577), ("6", {"numbers": 8}, 7_111_681)],
)  # fmt: skip
def test_parameter_counts_of_the_authors_defaults(size: str, columns: dict[str, Any], count: int) -> None:
    assert describe("FT-Transformer", size=size, **columns).root.parameter_count == count


@pytest.mark.parametrize("columns", COLUMNS)
def test_both_engines_agree(columns: dict[str, Any], tmp_path: Path) -> None:
    check_parity(describe("ft_transformer", **SMALL, **columns), tmp_path)


def test_it_computes_what_the_paper_defines(tmp_path: Path) -> None:
    description = describe("ft_transformer", **SMALL, **COLUMNS[0])
    model, _ = pair(description, tmp_path)
    inputs = sample_inputs(description, batch=1)
    with torch.no_grad():
        got = model.eval()(**on_torch(inputs))
    weights = {name.removeprefix("model."): np.asarray(value, np.float64) for name, value in model.state_dict().items()}
    close(got[0], defined(weights, inputs["numbers"][0], inputs["categories"][0]), "logits")


def test_a_table_without_columns_is_refused() -> None:
    with pytest.raises(InvalidError, match="a table needs a column"):
        describe("ft_transformer", numbers=0)


def defined(w: dict[str, Array], numbers: Array, categories: Array) -> Array:
    """Section 3.3 of the paper, a column at a time."""
    frames = [w["class_token.weight"][0]]
    frames += [x * w["numbers.weight"][j] + w["numbers.bias"][j] for j, x in enumerate(numbers)]
    tables = (w["categories.weight"][:4], w["categories.weight"][4:])
    frames += [table[x] + bias for table, x, bias in zip(tables, categories, w["categories.bias"], strict=True)]
    x = np.stack(frames)
    for layer in ("first", "layers.0"):
        inner = normed(x, w, f"{layer}.attend.body.norm") if layer != "first" else x
        x = x + attended(inner, w, f"{layer}.attend.body.attention")
        x = x + fed(normed(x, w, f"{layer}.feed.body.norm"), w, f"{layer}.feed.body")
    return dense(np.maximum(normed(x[0], w, "norm"), 0), w, "scores")


def dense(x: Array, w: dict[str, Array], name: str) -> Array:
    return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])


def normed(x: Array, w: dict[str, Array], name: str) -> Array:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"])


def attended(x: Array, w: dict[str, Array], name: str) -> Array:
    query, key, value = (np.split(dense(x, w, f"{name}.{part}"), 4, 1) for part in ("query", "key", "value"))
    heads = []
    for q, k, v in zip(query, key, value, strict=True):
        scores = np.exp(q @ k.T / np.sqrt(q.shape[1]))
        heads.append(scores / scores.sum(1, keepdims=True) @ v)
    return dense(np.concatenate(heads, 1), w, f"{name}.output")


def fed(x: Array, w: dict[str, Array], name: str) -> Array:
    gate = np.maximum(dense(x, w, f"{name}.reglu.gate.linear"), 0)
    return dense(dense(x, w, f"{name}.reglu.body.up") * gate, w, f"{name}.down")

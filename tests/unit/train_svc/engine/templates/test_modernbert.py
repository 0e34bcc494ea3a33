from pathlib import Path
from typing import Any

import pytest
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertModel,
)

from services.train_svc.engine.summary import summarize
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "num_layers": 4,
    "d_model": 16,
    "attention_heads": 4,
    "feed_forward": 24,
    "local_attention": 4,
}


PUBLISHED: dict[str, Any] = {
    "vocab_size": 50,
    "num_hidden_layers": 4,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "local_attention": 4,
    "num_labels": 3,
    **dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"]),
}


@pytest.mark.parametrize(("size", "count"), [("base", 149_655_232), ("large", 395_881_664)])
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("modernbert", size=size).root.parameter_count == count


def test_the_summary_counts_layers_that_differ_one_by_one() -> None:
    rows = summarize(describe("modernbert", **SMALL)).rows
    layers = next(row for row in rows if row.name == "layers")
    items = [row.parameters for row in rows if row.depth == layers.depth + 1 and row.name in "0123"]
    assert sum(items) == layers.parameters
    # The first has no norm before its attention.
    assert items[0] == items[1] - 16


@pytest.mark.parametrize("head", ["masked_lm", "classification"])
def test_both_engines_agree(head: str, tmp_path: Path) -> None:
    check_parity(describe("modernbert", head=head, **SMALL), tmp_path, time=9)


@pytest.mark.parametrize(
    ("published", "head", "outputs"),
    [
        (ModernBertForMaskedLM, "masked_lm", lambda r: {"logits": r.logits}),
        (ModernBertModel, "none", lambda r: {"logits": r.last_hidden_state}),
        (ModernBertForSequenceClassification, "classification", lambda r: {"logits": r.logits}),
    ],
)
def test_hugging_faces_weights_give_its_outputs(published: Any, head: str, outputs: Any, tmp_path: Path) -> None:
    # Longer than a window on both sides.
    description = describe("modernbert", head=head, num_classes=3, **SMALL)
    inputs = {"tokens": "input_ids", "mask": "attention_mask"}
    model = published(ModernBertConfig(**PUBLISHED))
    check_huggingface(model, description, tmp_path, inputs=inputs, outputs=outputs, time=13)

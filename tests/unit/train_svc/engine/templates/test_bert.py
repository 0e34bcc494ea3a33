from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForPreTraining, BertForSequenceClassification, BertModel

from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {"vocab_size": 50, "num_layers": 2, "d_model": 16, "attention_heads": 4, "feed_forward": 24}
INPUTS = {"tokens": "input_ids", "token_types": "token_type_ids", "mask": "attention_mask"}


def small_config() -> BertConfig:
    config = BertConfig(vocab_size=50, num_hidden_layers=2, hidden_size=16, num_attention_heads=4, intermediate_size=24)
    config.num_labels = 3
    return config


@pytest.mark.parametrize(
    ("size", "head", "count"),
    [
        ("base", "pooled", 109_482_240),
        ("base", "pretraining", 110_106_428),
        ("large", "pooled", 335_141_888),
    ],
)
def test_published_parameter_counts(size: str, head: str, count: int) -> None:
    assert describe("bert", size=size, head=head).root.parameter_count == count


@pytest.mark.parametrize("head", ["pretraining", "classification"])
def test_both_engines_agree(head: str, tmp_path: Path) -> None:
    check_parity(describe("bert", head=head, dropout=0.0, **SMALL), tmp_path, time=7)


@pytest.mark.parametrize(
    ("published", "head", "outputs"),
    [
        (BertModel, "pooled", lambda r: {"hidden": r.last_hidden_state, "pooled": r.pooler_output}),
        (BertForPreTraining, "pretraining",
         lambda r: {"logits": r.prediction_logits, "relation": r.seq_relationship_logits}),
        (BertForSequenceClassification, "classification", lambda r: {"logits": r.logits}),
    ],
)  # fmt: skip
def test_hugging_faces_weights_give_its_outputs(published: Any, head: str, outputs: Any, tmp_path: Path) -> None:
    description = describe("bert", head=head, num_classes=3, **SMALL)
    check_huggingface(published(small_config()), description, tmp_path, inputs=INPUTS, outputs=outputs, time=9)

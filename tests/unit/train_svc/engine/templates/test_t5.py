from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {"vocab_size": 50, "num_layers": 2, "d_model": 16, "attention_heads": 4, "feed_forward": 24}
SMALL |= {"head_dim": 6, "buckets": 8, "max_distance": 20, "dropout": 0.0}
INPUTS = {"sources": "input_ids", "targets": "decoder_input_ids", "source_mask": "attention_mask"}


def config(**fields: Any) -> T5Config:
    return T5Config(vocab_size=50, num_layers=2, d_model=16, num_heads=4, d_ff=24, d_kv=6,
                    relative_attention_num_buckets=8, relative_attention_max_distance=20, **fields)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("small", 60_506_624),
        ("base", 222_903_552),
        ("large", 737_668_096),
        ("3b", 2_851_598_336),
        ("11b", 11_307_321_344),
        ("v1_1-small", 76_961_152),
        ("v1_1-base", 247_577_856),
        ("v1_1-large", 783_150_080),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("t5", size=size).root.parameter_count == count


@pytest.mark.parametrize("options", [{}, {"gated": True, "tied": False}])
def test_both_engines_agree(options: dict[str, Any], tmp_path: Path) -> None:
    check_parity(describe("t5", **SMALL, **options), tmp_path, source=9, target=7)


@pytest.mark.parametrize(
    ("options", "fields"),
    [({}, {}), ({"gated": True, "tied": False}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})],
)
def test_hugging_faces_weights_give_its_outputs(
    options: dict[str, Any], fields: dict[str, Any], tmp_path: Path
) -> None:
    published = T5ForConditionalGeneration(config(**fields))
    if fields:
        # This version of transformers ties them whatever the config says, unless the checkpoint holds both.
        published.lm_head.weight = nn.Parameter(torch.randn(50, 16))
    description = describe("t5", **SMALL, **options)
    check_huggingface(published, description, tmp_path, inputs=INPUTS, outputs=lambda r: {"logits": r.logits},
                      source=40, target=33)  # fmt: skip


def test_the_decoder_runs_as_a_loop(tmp_path: Path) -> None:
    check_decoding(describe("t5", **SMALL), tmp_path, part="decoder", source=9, target=12)

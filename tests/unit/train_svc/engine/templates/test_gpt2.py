from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "num_layers": 2,
    "d_model": 16,
    "attention_heads": 4,
    "feed_forward": 24,
    "max_length": 20,
}


@pytest.mark.parametrize(
    ("size", "count"),
    [("small", 124_439_808), ("medium", 354_823_168), ("large", 774_030_080), ("xl", 1_557_611_200)],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("gpt2", size=size).root.parameter_count == count


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(describe("gpt2", dropout=0.0, **SMALL), tmp_path, time=7)


def test_decoding_step_by_step_gives_the_logits_of_the_whole_text(tmp_path: Path) -> None:
    check_decoding(describe("gpt2", dropout=0.0, **SMALL), tmp_path, time=11)


def test_hugging_faces_weights_give_its_outputs(tmp_path: Path) -> None:
    config = GPT2Config(
        vocab_size=50,
        n_positions=20,
        n_embd=16,
        n_layer=2,
        n_head=4,
        n_inner=24,
        bos_token_id=None,
        eos_token_id=None,
    )
    inputs = {"tokens": "input_ids", "mask": "attention_mask"}
    check_huggingface(
        GPT2LMHeadModel(config),
        describe("gpt2", **SMALL),
        tmp_path,
        inputs=inputs,
        outputs=lambda result: {"logits": result.logits},
        time=19,
    )

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from services.train_svc.engine.building import build
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "num_layers": 2,
    "d_model": 16,
    "attention_heads": 4,
    "kv_heads": 2,
    "feed_forward": 24,
}
QWEN = {**SMALL, "qk_norm": True, "head_dim": 8, "norm_eps": 1e-6, "rope_theta": 1e6, "rope_factor": 1.0}
PUBLISHED: dict[str, Any] = {
    "vocab_size": 50,
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "bos_token_id": None,
    "eos_token_id": None,
}
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
INPUTS = {"tokens": "input_ids", "mask": "attention_mask"}


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.2-3b", 3_212_749_824),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3.1-8b", 8_030_261_248),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-1.7b", 1_720_574_976),
        ("qwen3-8b", 8_190_735_360),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("llama", size=size).root.parameter_count == count


def test_eight_billion_parameters_take_no_memory_on_the_meta_device() -> None:
    model = build(describe("llama", size="llama-3-8b"), device="meta")
    assert sum(tensor.numel() for tensor in model.parameters()) == 8_030_261_248
    assert all(tensor.is_meta for tensor in model.parameters())


@pytest.mark.parametrize("options", [SMALL, QWEN, {**SMALL, "tied": False, "kv_heads": 4}])
def test_both_engines_agree(options: dict[str, Any], tmp_path: Path) -> None:
    check_parity(describe("llama", **options), tmp_path, time=7)


@pytest.mark.parametrize("options", [SMALL, QWEN])
def test_decoding_step_by_step_gives_the_logits_of_the_whole_text(options: dict[str, Any], tmp_path: Path) -> None:
    check_decoding(describe("llama", **options), tmp_path, time=11)


@pytest.mark.parametrize(
    ("published", "options"),
    [
        (LlamaForCausalLM(LlamaConfig(**PUBLISHED, rope_parameters=SCALED, tie_word_embeddings=True,
                                      rms_norm_eps=1e-5)),
         SMALL),
        (LlamaForCausalLM(LlamaConfig(**PUBLISHED, rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
                                      rms_norm_eps=1e-5)),
         {**SMALL, "tied": False, "rope_factor": 1.0}),
        (Qwen3ForCausalLM(Qwen3Config(**PUBLISHED, head_dim=8, tie_word_embeddings=True,
                                      rope_parameters={"rope_type": "default", "rope_theta": 1e6})),
         QWEN),
    ],
    ids=["llama-3.2", "llama-3", "qwen3"],
)  # fmt: skip
def test_hugging_faces_weights_give_its_outputs(published: Any, options: dict[str, Any], tmp_path: Path) -> None:
    # Long enough for slow and fast rotations to be told apart; padding hides keys.
    description = describe("llama", **options)
    check_huggingface(
        published, description, tmp_path, inputs=INPUTS, outputs=lambda result: {"logits": result.logits}, time=40
    )


def test_one_table_of_angles_and_one_mask_serve_all_layers() -> None:
    model = build(describe("llama", **SMALL))
    calls: list[str] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        model(torch.zeros(2, 5, dtype=torch.long), mask=torch.ones(2, 5, dtype=torch.bool))
    assert calls.count("aten.cos.default") == 1
    assert calls.count("aten.le.Scalar") == 1

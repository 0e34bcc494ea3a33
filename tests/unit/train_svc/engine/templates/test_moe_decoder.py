from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from services.common.errors import InvalidError
from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.experts import dense, grouped
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity, close
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "num_layers": 2,
    "d_model": 16,
    "attention_heads": 4,
    "kv_heads": 2,
    "feed_forward": 12,
    "experts": 4,
    # Larger than usual, so that the choice of experts hangs on no rounding.
    "init_std": 0.3,
}
PUBLISHED: dict[str, Any] = {
    "vocab_size": 50,
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 12,
    "output_router_logits": True,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
}
QWEN: dict[str, Any] = {"num_experts": 4, "head_dim": 8, "moe_intermediate_size": 12}
INPUTS = {"tokens": "input_ids", "mask": "attention_mask"}


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("mixtral-8x7b", 46_702_792_704),
        ("mixtral-8x22b", 140_620_634_112),
        ("qwen3-30b-a3b", 30_532_122_624),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("moe_decoder", size=size).root.parameter_count == count


def test_mixtral_takes_no_memory_on_the_meta_device() -> None:
    model = build(describe("MoE decoder (Mixtral)"), device="meta")
    assert sum(tensor.numel() for tensor in model.parameters()) == 46_702_792_704


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(describe("moe_decoder", router_logits=True, **SMALL), tmp_path, time=7)


def test_decoding_step_by_step_gives_the_logits_of_the_whole_text(tmp_path: Path) -> None:
    check_decoding(describe("moe_decoder", **SMALL), tmp_path, time=11)


@pytest.mark.parametrize(
    ("published", "options"),
    [
        (MixtralForCausalLM(MixtralConfig(**PUBLISHED, num_local_experts=4,
                                          rope_parameters={"rope_type": "default", "rope_theta": 1e6})),
         SMALL),
        (Qwen3MoeForCausalLM(Qwen3MoeConfig(**PUBLISHED, **QWEN, num_experts_per_tok=3, norm_topk_prob=True,
                                            rope_parameters={"rope_type": "default", "rope_theta": 1e6})),
         {**SMALL, "top_k": 3, "head_dim": 8, "qk_norm": True, "norm_eps": 1e-6}),
    ],
    ids=["mixtral", "qwen3"],
)  # fmt: skip
def test_hugging_faces_weights_give_its_outputs(published: Any, options: dict[str, Any], tmp_path: Path) -> None:
    def outputs(result: Any) -> dict[str, torch.Tensor]:
        # A list of [tokens, experts], one a layer.
        scores = torch.stack([each.view(2, 12, 4) for each in result.router_logits], 2).flatten(2)
        return {"logits": result.logits, "router_logits": scores}

    description = describe("moe_decoder", router_logits=True, **options)
    check_huggingface(published, description, tmp_path, inputs=INPUTS, outputs=outputs, time=12)


def test_experts_of_sorted_tokens_give_what_all_experts_of_all_tokens_give() -> None:
    torch.manual_seed(0)
    x, scores = torch.randn(11, 16, requires_grad=True), torch.randn(11, 5, requires_grad=True)
    gate, up, down = (torch.randn(5, *sizes, requires_grad=True) for sizes in ((8, 16), (8, 16), (16, 8)))
    # The last expert is nobody's.
    shares, chosen = scores[:, :4].softmax(-1).topk(2)
    wanted, got = (mix(x, shares, chosen, (gate, up, down)) for mix in (dense, grouped))
    close(got.detach(), wanted.detach(), "mixture")
    leaves = (x, scores, gate, up, down)
    pairs = (torch.autograd.grad(result.square().sum(), leaves, retain_graph=True) for result in (got, wanted))
    for index, (ours, theirs) in enumerate(zip(*pairs, strict=True)):
        close(ours, theirs, f"gradient {index}")


def test_a_token_cannot_take_more_experts_than_there_are() -> None:
    with pytest.raises(InvalidError, match="top_k"):
        describe("moe_decoder", **{**SMALL, "top_k": 5})

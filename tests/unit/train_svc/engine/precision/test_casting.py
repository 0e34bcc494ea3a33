"""Which format a run gets, and float8."""

import pytest
import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.precision import (
    autocast_of,
    convert_to_float8,
    resolve,
    set_float32_products,
)
from services.train_svc.engine.precision import Policy
from services.train_svc.engine.spec.precision import Precision, PrecisionName
from services.train_svc.engine.templates import describe

H200, V100 = (9, 0), (7, 0)


def test_on_a_cpu_auto_is_float32_and_what_is_asked_for_is_given() -> None:
    names: tuple[PrecisionName, ...] = ("auto", "fp32", "tf32", "fp16", "bf16")
    assert [resolve(Precision(name), "cpu") for name in names] == ["fp32", "fp32", "fp32", "fp16", "bf16"]


def test_on_a_card_auto_is_bf16_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: H200)
    assert [resolve(Precision(name), "cuda") for name in ("auto", "tf32", "fp8")] == ["bf16", "tf32", "fp8"]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: V100)
    assert [resolve(Precision(name), "cuda") for name in ("auto", "tf32")] == ["fp32", "fp32"]
    with pytest.raises(InvalidError, match=r"capability 8.9 .* 7.0; use bf16"):
        resolve(Precision("fp8"), "cuda")


def test_fp8_on_a_cpu_is_refused() -> None:
    with pytest.raises(InvalidError, match="this is a CPU; use bf16"):
        resolve(Precision("fp8"), "cpu")


def test_autocast_is_open_for_short_formats_alone() -> None:
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    found = []
    for name in ("fp32", "tf32", "fp16", "bf16", "fp8"):
        with autocast_of(name, torch.device("cpu")):
            found.append(layer(x).dtype)
    assert found == [torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.bfloat16]


def test_products_of_float32_keep_all_bits_unless_tf32_is_asked_for() -> None:
    try:
        set_float32_products("tf32")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        set_float32_products("fp32")
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


def test_large_layers_that_are_not_sensitive_train_in_float8_with_the_same_names() -> None:
    torch.manual_seed(0)
    model = build(describe("llama", vocab_size=32, num_layers=1, d_model=32, attention_heads=2, kv_heads=1,
                           feed_forward=48, tied=False))  # fmt: skip
    tokens, names = torch.randint(0, 32, (2, 7)), set(model.state_dict())
    exact = model(tokens)
    converted = convert_to_float8(model, least=32, emulate=True)
    assert set(model.state_dict()) == names
    kinds = {name.rpartition(".")[2] for name in converted}
    # Keys and values are too narrow, and the layer before the vocabulary leaves the model.
    assert {"query", "up", "down"} <= kinds
    assert not {"key", "value"} & kinds
    found = model(tokens)
    assert 0 < (found - exact).norm() / exact.norm() < 0.1
    found.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_policy_and_a_users_last_layer_keep_layers_out_of_float8() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 24), nn.Linear(16, 16))
    policy = Policy(base="bf16", force={"1": "fp32"})
    assert convert_to_float8(model, policy=policy, least=16, emulate=True) == ["0"]

"""A policy on a model, compiled and not, and taken off."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.precision import apply_policy, autocast_of, lift_policy
from services.train_svc.engine.precision import Operator, Policy
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.precision.tacotron import ATTENTION, pointing_tacotron


class Product(nn.Module):
    """An inner product of what its layers make, beyond float16's range."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.seen: list[torch.dtype] = []

    def forward(self, x: torch.Tensor, *, pair: tuple[torch.Tensor, int]) -> torch.Tensor:
        """Return [batch, batch]."""
        one, other = (layer(x) for layer in self.shelf)
        self.seen = [x.dtype, pair[0].dtype, one.dtype]
        product: torch.Tensor = (one * 1e3) @ (other * 1e3).T + pair[0]
        return product


class Net(nn.Module):
    """A product between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.product = Product()
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [4, 2] of [4, 8]."""
        first = self.first(x)
        last: torch.Tensor = self.last(self.product(first, pair=(first[:, :4], 1)) * 1e-6)
        return last


def policy_of(name: str, precision: str = "fp32", base: str = "fp16") -> Policy:
    return Policy(base=base, operators=(Operator(name=name, precision=precision),))  # type: ignore[arg-type]  # of the test


def under(base: str, run: Callable[[], torch.Tensor]):
    with autocast_of(base, "cpu"):
        return run()


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_inside_a_float32_operator_inputs_come_and_products_are_made_in_float32(net: Net) -> None:
    x = torch.randn(4, 8) * 4
    exact = net(x)
    assert not under("fp16", lambda: net(x)).isfinite().all()
    names = set(net.state_dict())
    assert apply_policy(net, policy_of("product")) == 1
    assert set(net.state_dict()) == names
    assert isinstance(net.product, Product)
    found = under("fp16", lambda: net(x))
    # What it is given and what its layers give it; the layers themselves stay in float16.
    assert net.product.seen == [torch.float32] * 3
    assert (found - exact).norm() / exact.norm() < 5e-3


def test_layers_inside_a_float32_operator_keep_the_base_precision(net: Net) -> None:
    used: list[torch.dtype] = []

    class Probe(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            made = super().forward(input)
            used.append(made.dtype)
            return made

    net.product.shelf[0] = Probe(8, 8)
    apply_policy(net, policy_of("product"))
    under("fp16", lambda: net(torch.randn(4, 8)))
    assert used == [torch.float16]
    used.clear()
    apply_policy(net, Policy(base="fp16", force={"product": "fp32"}))
    under("fp16", lambda: net(torch.randn(4, 8)))
    assert used == [torch.float32]


def test_without_autocast_around_it_a_policy_changes_nothing(net: Net) -> None:
    x = torch.randn(4, 8)
    exact, half = net(x), Net().bfloat16()
    apply_policy(net, policy_of("product"))
    assert torch.equal(net(x), exact)
    apply_policy(half, policy_of("product"))
    assert half(x.bfloat16()).dtype == torch.bfloat16


def test_applying_twice_equals_applying_once_and_lifting_gives_the_module_back(net: Net) -> None:
    x, kinds = torch.randn(4, 8), [type(module) for module in net.modules()]
    apply_policy(net, policy_of("first"))
    apply_policy(net, policy_of("product"))
    once = under("fp16", lambda: net(x))
    apply_policy(net, policy_of("product"))
    assert torch.equal(under("fp16", lambda: net(x)), once)
    assert type(net.first) is nn.Linear
    lift_policy(net)
    assert [type(module) for module in net.modules()] == kinds


def test_another_half_format_is_taken_by_one_operator(net: Net) -> None:
    apply_policy(net, policy_of("last", "bf16"))
    assert under("fp16", lambda: net(torch.randn(4, 8))).dtype == torch.bfloat16


def test_a_policy_of_another_model_is_refused_with_the_nearest_name(net: Net) -> None:
    with pytest.raises(InvalidError, match="no module 'prodct'; did you mean 'product'"):
        apply_policy(net, policy_of("prodct"))
    with pytest.raises(InvalidError, match=r"force.prod\?"):
        apply_policy(net, Policy(base="fp16", force={"prod?": "fp32"}))


def test_a_block_sees_the_memory_it_looks_at_in_float32() -> None:
    model, _ = pointing_tacotron("location_sensitive")
    tokens, frames = torch.randint(0, 20, (2, 9)), torch.randn(2, 4, 16)
    apply_policy(model, policy_of(ATTENTION, base="bf16"))
    with autocast_of("bf16", "cpu"):
        made = model(tokens=tokens, frames=frames)
    assert made["alignments"].dtype == torch.float32
    assert made["mel"].dtype == torch.bfloat16
    with torch.no_grad(), autocast_of("bf16", "cpu"):
        state = model.initial_state(2, part="decoder", **model.encode(tokens))
        step: Any = model.step(state, torch.zeros(2, 1, 16), part="decoder")[0]
    assert step["alignments"].dtype == torch.float32
    # The whole loop: what it holds reads the memory past it.
    apply_policy(model, Policy(base="bf16", force={"decoder.aligned": "fp32"}))
    with autocast_of("bf16", "cpu"):
        made = model(tokens=tokens, frames=frames)
    assert made["mel"].isfinite().all()


def test_cross_attention_runs_in_float32_over_a_memory_in_the_base_precision() -> None:
    torch.manual_seed(0)
    model = build(describe("transformer", vocab_size=20, num_layers=1, d_model=16, attention_heads=2, feed_forward=16))
    model.eval()
    inputs = (torch.randint(0, 20, (2, 5)), torch.randint(0, 20, (2, 4)))
    exact = model(*inputs)
    plain = under("bf16", lambda: model(*inputs))
    apply_policy(model, Policy(base="bf16", force={"decoder": "fp32"}))
    found = under("bf16", lambda: model(*inputs))
    assert (found - exact).norm() < (plain - exact).norm()


def test_the_compiler_takes_regions_without_a_break(net: Net) -> None:
    x = torch.randn(4, 8)
    apply_policy(net, policy_of("product"))

    def run(x: torch.Tensor):
        with autocast_of("fp16", "cpu"):
            return net(x)

    assert torch.equal(torch.compile(run, fullgraph=True, backend="aot_eager")(x), run(x))


def test_the_compiler_takes_regions_of_our_blocks_without_a_break() -> None:
    model, _ = pointing_tacotron()
    tokens, frames = torch.randint(0, 20, (2, 7)), torch.randn(2, 3, 16)
    apply_policy(model, policy_of(ATTENTION, base="bf16"))

    def run() -> torch.Tensor:
        with autocast_of("bf16", "cpu"):
            made: torch.Tensor = model(tokens=tokens, frames=frames)["mel"]
            return made

    assert torch.equal(torch.compile(run, fullgraph=True, backend="eager")(), run())

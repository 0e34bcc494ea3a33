"""The meter: every storage once, from its making to its freeing."""

from collections.abc import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from services.train_svc.engine.on_torch.memory.meter import PeakMeter

CPU = torch.device("cpu")
ROW = 4 * 1000
"""Bytes of 1000 numbers."""


def peak(work: Callable[[], object], *held: torch.Tensor) -> int:
    with PeakMeter(CPU, held) as meter:
        work()
    return meter.peak_bytes


def test_what_is_freed_does_not_count_any_more() -> None:
    def work() -> None:
        for _ in range(5):
            torch.zeros(1000)

    assert peak(work) == ROW


def test_what_lives_at_once_adds_up() -> None:
    def work() -> None:
        first, second = torch.zeros(1000), torch.zeros(1000)
        del first
        third = torch.zeros(500)
        del second, third

    assert peak(work) == 2 * ROW


def test_views_count_once() -> None:
    def work() -> None:
        whole = torch.zeros(1000)
        parts = [whole.view(10, 100), whole[:500], whole.expand(7, 1000), whole.detach()]
        del whole
        parts.append(parts[0].t())

    assert peak(work) == ROW


def test_a_view_keeps_the_whole_alive() -> None:
    def work() -> None:
        part = torch.zeros(1000)[:10]
        torch.zeros(1000)
        del part

    assert peak(work) == 2 * ROW


def test_what_autograd_keeps_counts_until_the_backward_pass() -> None:
    x = torch.ones(1000, requires_grad=True)

    def work() -> None:
        y = x
        for _ in range(4):
            # Keeps its result, which Python forgets.
            y = y.exp()
        total = y.sum()
        del y
        total.backward()

    # Four results, and in the backward pass two gradients at once beside those not yet freed; the sum and its one.
    assert 4 * ROW + 8 <= peak(work) <= 6 * ROW + 8


def test_given_tensors_count_from_the_start_and_once() -> None:
    held = torch.zeros(1000)
    assert peak(lambda: torch.zeros(500), held, held.view(10, 100)) == ROW + ROW // 2
    assert peak(lambda: None, held) == ROW


def test_storages_that_grow_are_seen() -> None:
    def work() -> None:
        out = torch.empty(0)
        torch.cat((torch.zeros(1000), torch.zeros(1000)), out=out)

    assert peak(work) == 4 * ROW


def test_it_agrees_with_the_allocator_over_training_steps() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.LayerNorm(256)) for _ in range(4)))
    optimizer = torch.optim.AdamW(model.parameters())
    x = torch.randn(512, 256)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    step()
    held = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None)]
    held += [value for state in optimizer.state.values() for value in state.values()]
    before = sum(each.untyped_storage().nbytes() for each in held)
    found = peak(step, *held)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    kineto = profiled.profiler
    assert kineto is not None
    moves = sorted(
        (event.start_ns(), event.nbytes()) for event in kineto.kineto_results.events() if event.name() == "[memory]"
    )
    now = most = before
    for _, size in moves:
        now += size
        most = max(most, now)
    assert abs(found - most) < 0.02 * most, (found, most)


def test_after_an_error_the_peak_is_still_known() -> None:
    meter = PeakMeter(CPU)
    try:
        with meter:
            torch.zeros(1000)
            raise ValueError
    except ValueError:
        pass
    torch.zeros(10_000)
    assert meter.peak_bytes == ROW
    assert meter.reserved_bytes == 0

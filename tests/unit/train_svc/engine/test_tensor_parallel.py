"""The plan's columns and rows are right: two processes that hold half of each layer give what one gives."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.multiprocessing.spawn import spawn

from services.train_svc.engine.building import build
from services.train_svc.engine.plan import plan
from services.train_svc.engine.templates import describe

TINY: dict[str, dict[str, Any]] = {
    "bert": {"vocab_size": 20, "num_layers": 2, "d_model": 16, "attention_heads": 4, "feed_forward": 24},
    "llama": {
        "vocab_size": 20,
        "num_layers": 2,
        "d_model": 16,
        "attention_heads": 4,
        "kv_heads": 2,
        "feed_forward": 24,
    },
}
WORLD = 2


def split(rank: int, port: int, name: str, folder: str) -> None:
    """Give the outputs of one of two processes."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=WORLD)
    model = build(describe(name, **TINY[name])).eval()
    model.load_state_dict(torch.load(f"{folder}/weights.pt"))
    ways = {"column": ColwiseParallel, "row": RowwiseParallel}
    mesh = init_device_mesh("cpu", (WORLD,))
    found = {layer: ways[way]() for layer, way in plan(model.description).tensor_parallel.items()}
    parallelize_module(model, mesh, found)
    weight = model.get_parameter(next(iter(found)) + ".weight")
    assert weight.to_local().shape[0] * WORLD == weight.shape[0]
    with torch.no_grad():
        torch.save(first(model(torch.arange(12).view(2, 6))), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def first(result: Any) -> torch.Tensor:
    """Return the first output."""
    tensor: torch.Tensor = next(iter(result.values())) if isinstance(result, dict) else result
    return tensor


@pytest.mark.parametrize("name", list(TINY))
def test_two_processes_with_half_of_each_layer_give_what_one_gives(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(describe(name, **TINY[name])).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with torch.no_grad():
        wanted = first(model(torch.arange(12).view(2, 6)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    spawn(split, args=(port, name, str(tmp_path)), nprocs=WORLD)
    for rank in range(WORLD):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), wanted, rtol=1e-5, atol=1e-6)

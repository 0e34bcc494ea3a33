"""Small real graphs and engine parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.serve_svc.engine.batching import Scheduler
from services.serve_svc.engine.options import ServingOptions, parse_options
from services.serve_svc.engine.session import Session
from services.serve_svc.engine.statistics import Statistics


def save(path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, 2])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def lookup(tmp_path: Path) -> Session:
    """A table of ten rows `[i, -i]`; an index beyond it fails inside the runtime."""
    rows = np.stack([np.arange(10), -np.arange(10)], axis=1).astype(np.float32)
    node = helper.make_node("Gather", ["table", "x"], ["y"], axis=0)
    return Session(save(tmp_path / "model.onnx", [node], [numpy_helper.from_array(rows, "table")]), threads=1)


@pytest.fixture
def scheduler_of() -> Callable[..., tuple[Scheduler, Statistics]]:
    """Build a scheduler that queues every request."""

    def build(session: Session, **options: object) -> tuple[Scheduler, Statistics]:
        statistics = Statistics()
        parsed: ServingOptions = parse_options({"inline_below_us": 0, **options})
        return Scheduler(session, parsed, statistics, element_ns=1.0, batches=True), statistics

    return build

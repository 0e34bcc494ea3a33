"""A real small convolutional network, trained on scikit-learn's digits and exported to ONNX, once a session."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass(frozen=True, kw_only=True)
class Digits:
    model: bytes
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    import torch
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = load_digits()
    pictures = (data.images / 16.0 - 0.3).astype(np.float32)[:, None]
    order = np.random.default_rng(0).permutation(len(pictures))
    train, test = order[:1300], order[1300:]
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3, padding=1, bias=False), torch.nn.BatchNorm2d(32), torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 3, padding=1, bias=False), torch.nn.BatchNorm2d(64), torch.nn.ReLU(),
        torch.nn.Conv2d(64, 64, 3, padding=1, stride=2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    x, y = torch.from_numpy(pictures[train]), torch.from_numpy(data.target[train])
    for _ in range(6):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            optimizer.step()
    path = Path(tmp_path_factory.mktemp("digits")) / "model.onnx"
    torch.onnx.export(
        net.eval(), (x[:2],), str(path), dynamo=False, opset_version=17, input_names=["input"], output_names=["logits"],
        dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}}, do_constant_folding=False,
    )  # fmt: skip
    return Digits(
        model=path.read_bytes(),
        train=pictures[train],
        test=pictures[test],
        test_labels=data.target[test].astype(np.int64),
    )

"""The gateway before the four real services, all in this process; jobs are queued and nobody takes them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from services.compress_svc import __main__ as compress
from services.compress_svc.settings import CompressSettings
from services.data_svc import __main__ as data
from services.data_svc.settings import DataSettings
from services.serve_svc import __main__ as serve
from services.serve_svc.settings import ServeSettings
from services.train_svc import __main__ as train
from services.train_svc.settings import TrainSettings


class SilentBell:
    def ring(self, job_id: str, queue: str) -> None:
        """Nobody is woken: there are no workers here."""


@pytest.fixture(scope="session")
def gateway_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home: Path = tmp_path_factory.mktemp("gateway")
    bell = SilentBell()
    started = []
    addresses: dict[str, Any] = {}
    for name, start in (
        ("data", lambda: data.build_server(DataSettings(home=home, data_address="127.0.0.1:0"), bell)),
        ("train", lambda: train.build_server(TrainSettings(home=home, train_address="127.0.0.1:0"), bell)),
        (
            "compress",
            lambda: compress.build_server(
                CompressSettings(home=home, compress_address="127.0.0.1:0", **addresses), bell
            ),
        ),
        (
            "serve",
            lambda: serve.build_server(ServeSettings(home=home, serve_address="127.0.0.1:0", **addresses)),
        ),
    ):
        server = start()
        server.start()
        started.append(server)
        addresses[f"{name}_address"] = server.address
    gateway = GatewayServer(GatewaySettings(home=home, gateway_port=0, heartbeat_s=0.5, **addresses))
    gateway.start()
    yield gateway.url
    gateway.stop(1)
    for server in reversed(started):
        server.stop(0)

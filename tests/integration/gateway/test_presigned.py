"""Bytes past the gateway: presigned addresses of a real S3."""

import os
import uuid
from typing import Any

import httpx
import pytest

from gateway.__main__ import compose
from gateway.settings import GatewaySettings
from modelwright import Client
from services.common.digest import digest_bytes
from services.common.errors import ConflictError
from services.data_svc.__main__ import build_server
from services.data_svc.settings import DataSettings


class SilentBell:
    def ring(self, job_id, queue):
        """There are no workers here."""


def start(home, unused_port, **settings):
    data = build_server(DataSettings(home=home, data_address=f"127.0.0.1:{unused_port()}", **settings), SilentBell())
    data.start()
    absent = f"127.0.0.1:{unused_port()}"
    own: dict[str, Any] = {f"{name}_address": absent for name in ("train", "compress", "serve")}
    own.update(home=home, gateway_port=0, data_address=data.address, **settings)
    gateway = compose(GatewaySettings(**own)).build_server()
    gateway.start()
    return data, gateway


@pytest.fixture
def on_s3(tmp_path, s3_server, unused_port):
    data, gateway = start(tmp_path, unused_port, storage_url=f"s3://b{uuid.uuid4().hex[:8]}", **s3_server)
    with Client(url=gateway.url) as client:
        yield client
    gateway.stop(1)
    data.stop(1)


@pytest.fixture
def on_folder(tmp_path, unused_port):
    data, gateway = start(tmp_path, unused_port)
    with Client(url=gateway.url) as client:
        yield client
    gateway.stop(1)
    data.stop(1)


def test_a_file_goes_straight_to_the_store(on_s3, tmp_path, monkeypatch):
    monkeypatch.setattr("modelwright.client.direct.PART_BYTES", 1 << 20)
    path = tmp_path / "file.bin"
    path.write_bytes(os.urandom((5 << 20) + 17))
    upload = on_s3.uploads.push_direct(path)
    assert (upload.state, upload.received) == ("complete", path.stat().st_size)
    assert on_s3.uploads.push_direct(path).id == upload.id


def test_a_part_that_was_not_put_is_not_recorded(on_s3):
    upload = on_s3.uploads.create("x.bin", 4)
    path = on_s3.transport.path(f"uploads/{upload.id}:record")
    with pytest.raises(ConflictError, match="not in the store"):
        on_s3.transport.json("POST", path, body={"offset": 0, "size": 4, "digest": digest_bytes(b"data")})


def test_a_blob_is_read_from_its_address(on_s3, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"kept")
    file = on_s3.blobs.put(path)
    assert httpx.get(on_s3.blobs.presign(file.digest)).content == b"kept"


def test_a_folder_says_that_it_has_no_addresses(on_folder, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"kept")
    file = on_folder.blobs.put(path)
    with pytest.raises(ConflictError, match="has no presigned addresses"):
        on_folder.blobs.presign(file.digest)

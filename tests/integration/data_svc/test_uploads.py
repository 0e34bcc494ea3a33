"""Resumable uploads through real gRPC."""

import hashlib
import time

import pytest

from proto.gen.modelwright.data.v1 import dataset_pb2 as pb
from services.common.errors import ConflictError, InvalidError, NotFoundError, TooLargeError
from services.common.rpc import call
from services.common.storage import open_storage, put_part
from services.data_svc.__main__ import compose


class Silence:
    """A bell that is never heard."""

    def ring(self, job_id: str, queue: str) -> None:
        pass


DATA = bytes(range(256)) * 4000


def record(house, upload_id, part):
    request = pb.RecordPartRequest(upload_id=upload_id, offset=part.offset, size=part.size, digest=part.digest)
    return call(house.data.RecordPart, request).upload


def test_a_cut_upload_goes_on_where_it_stopped(house):
    upload = house.create(DATA, "x.bin")
    assert house.write(upload.id, 0, DATA[:300_000]).received == 300_000
    assert call(house.data.GetUpload, pb.GetUploadRequest(id=upload.id)).upload.received == 300_000
    with pytest.raises(ConflictError, match="go on at offset 300000"):
        house.write(upload.id, 0, DATA)
    with pytest.raises(ConflictError, match="go on at 300000"):
        house.complete(upload.id)
    house.write(upload.id, 300_000, DATA[300_000:])
    assert house.complete(upload.id).state == pb.UPLOAD_STATE_COMPLETE
    assert house.complete(upload.id).state == pb.UPLOAD_STATE_COMPLETE


def test_a_part_recorded_twice_counts_once_and_a_gap_is_refused(house):
    storage = open_storage(house.settings)
    upload = house.create(DATA, "x.bin")
    first = put_part(storage, upload.id, 0, DATA[:1000])
    for _ in range(2):
        assert record(house, upload.id, first).received == 1000
    with pytest.raises(ConflictError, match="go on at offset 1000, not 2000"):
        record(house, upload.id, put_part(storage, upload.id, 2000, DATA[2000:3000]))
    with pytest.raises(ConflictError, match="go on at offset 1000, not 0"):
        record(house, upload.id, put_part(storage, upload.id, 0, DATA[:900]))


def test_known_bytes_are_complete_at_once(house):
    first = house.upload(DATA, "x.bin")
    again = house.create(DATA, "y.bin")
    assert (again.id, again.state) == (first, pb.UPLOAD_STATE_COMPLETE)
    other = pb.CreateUploadRequest(project="q", filename="x.bin", size=len(DATA), digest=again.digest)
    assert call(house.data.CreateUpload, other).upload.state == pb.UPLOAD_STATE_OPEN


def test_bytes_that_are_not_the_declared_ones_are_refused(house):
    for pieces in ([DATA], [DATA[:5000], DATA[5000:]]):
        wrong = pb.CreateUploadRequest(
            project="p", filename="x.bin", size=len(DATA), digest="sha256:" + hashlib.sha256(b"other").hexdigest()
        )
        upload = call(house.data.CreateUpload, wrong).upload
        offset = 0
        for piece in pieces:
            house.write(upload.id, offset, piece)
            offset += len(piece)
        with pytest.raises(InvalidError, match="was declared as"):
            house.complete(upload.id)
        call(house.data.DeleteUpload, pb.DeleteUploadRequest(id=upload.id))


def test_large_uploads_are_verified_by_the_commit(build_house):
    house = build_house(verify_inline_bytes=10)
    wrong = pb.CreateUploadRequest(project="p", filename="x.tar", size=len(DATA), digest="sha256:" + "1" * 64)
    upload = call(house.data.CreateUpload, wrong).upload
    house.write(upload.id, 0, DATA[:1000])
    house.write(upload.id, 1000, DATA[1000:])
    assert house.complete(upload.id).state == pb.UPLOAD_STATE_COMPLETE
    again = call(house.data.CreateUpload, wrong).upload
    assert again.id != upload.id, "bytes that were not verified are not shared"
    assert "was declared as" in house.done(house.commit(upload.id)).error


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"size": 0}, InvalidError),
        ({"size": 1 << 50}, TooLargeError),
        ({"filename": "../x"}, InvalidError),
        ({"filename": "a\x00b"}, InvalidError),
        ({"filename": ""}, InvalidError),
        ({"digest": "md5:1"}, InvalidError),
        ({"project": ""}, InvalidError),
    ],
)
def test_wrong_declarations_are_refused(house, fields, error):
    valid: dict[str, object] = {"project": "p", "filename": "x.tar", "size": 10}
    with pytest.raises(error):
        call(house.data.CreateUpload, pb.CreateUploadRequest(**(valid | fields)))


def test_more_bytes_than_declared_are_refused(house):
    upload = house.create(DATA[:1000], "x.bin")
    with pytest.raises(InvalidError, match="declared with 1000 bytes"):
        house.write(upload.id, 0, DATA)


def test_uploads_left_behind_expire_with_their_bytes(build_house):
    house = build_house(open_upload_keep_s=0.2, complete_upload_keep_s=0.2, expiry_interval_s=0.05)
    left = house.create(DATA, "x.bin")
    house.write(left.id, 0, DATA[:1000])
    storage = open_storage(house.settings)
    deadline = time.monotonic() + 20
    while list(storage.list("uploads/")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(NotFoundError, match="may have expired"):
        call(house.data.GetUpload, pb.GetUploadRequest(id=left.id))


def test_an_upload_that_a_commit_needs_does_not_expire(build_house):
    house = build_house(complete_upload_keep_s=0.1, expiry_interval_s=0.05)
    database = compose(house.settings, Silence()).uploads
    job = house.commit(house.upload(DATA, "x.bin"))
    time.sleep(0.3)
    assert database.expire() == 0
    assert "has no label" in house.done(job).error

"""Uploads that break off, meet each other, or bring the wrong bytes: what the server keeps and what it says."""

import hashlib
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import pytest

from modelward import errors
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.settings import Settings
from modelward_server.storage.blobs import KEEP_UNFINISHED
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

SIZE = 1_000_000


@pytest.fixture(scope="session")
def database_url() -> str:
    """Uploads do not touch the database: one is enough here."""
    return ""


@pytest.fixture
def content() -> bytes:
    """Bytes that no other test has."""
    return np.random.default_rng(uuid4().int).bytes(SIZE)


@pytest.fixture
def raw(server: RunningServer) -> Iterator[LifecycleServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield LifecycleServiceStub(channel)


def header(content: bytes, offset: int = 0, size: int = SIZE) -> pb.UploadBlobsRequest:
    sha256 = hashlib.sha256(content).hexdigest()
    return pb.UploadBlobsRequest(header=pb.BlobHeader(sha256=sha256, size_bytes=size, offset=offset))


def chunk(data: bytes) -> pb.UploadBlobsRequest:
    return pb.UploadBlobsRequest(chunk=data)


def upload(raw: LifecycleServiceStub, *parts: pb.UploadBlobsRequest) -> tuple[int, bool]:
    """Upload one blob and return how much the server then has of it, and whether that is complete."""
    try:
        [blob] = raw.UploadBlobs(iter(parts), timeout=PATIENCE_SECONDS).blobs
    except grpc.RpcError as error:
        raise error_of(error) from None
    return blob.received_bytes, blob.complete


class Hanging:
    """An upload that has sent some parts and sends no more until it is told to."""

    def __init__(self, raw: LifecycleServiceStub, *parts: pb.UploadBlobsRequest) -> None:
        self._parts = parts
        self._ended = False
        self.call = raw.UploadBlobs.future(self._requests(), timeout=PATIENCE_SECONDS)

    def _requests(self) -> Iterator[pb.UploadBlobsRequest]:
        yield from self._parts
        while not self._ended:
            time.sleep(0.01)

    def end(self) -> pb.UploadBlobsResponse:
        self._ended = True
        answer: pb.UploadBlobsResponse = self.call.result()
        return answer

    def break_off(self) -> None:
        self.call.cancel()
        self._ended = True


def wait_for(raw: LifecycleServiceStub, content: bytes, received: int) -> None:
    """Wait until the server has so much of a blob."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while upload(raw, header(content)) != (received, False):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def break_off_after(raw: LifecycleServiceStub, content: bytes, received: int) -> None:
    broken = Hanging(raw, header(content), chunk(content[:received]))
    wait_for(raw, content, received)
    broken.break_off()


def refused(raw: LifecycleServiceStub, *parts: pb.UploadBlobsRequest) -> list[tuple[str, str]]:
    """Return which fields of an upload are refused, and how each is mended."""
    with pytest.raises(errors.InvalidField) as caught:
        upload(raw, *parts)
    return [(violation.field, violation.description) for violation in caught.value.violations]


def upload_once_free(raw: LifecycleServiceStub, *parts: pb.UploadBlobsRequest) -> tuple[int, bool]:
    """Upload as soon as the server has noticed that the upload before has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            return upload(raw, *parts)
        except errors.ConcurrentChange:
            time.sleep(0.01)
    raise AssertionError("the blob stayed locked")


def test_what_came_before_a_break_is_kept_and_the_rest_completes_it(raw: LifecycleServiceStub, content: bytes) -> None:
    assert upload(raw, header(content)) == (0, False)
    break_off_after(raw, content, 600_000)
    assert upload_once_free(raw, header(content, 600_000), chunk(content[600_000:])) == (SIZE, True)
    assert upload(raw, header(content)) == (SIZE, True)


@pytest.mark.system  # Takes seconds.
def test_upload_goes_on_after_a_restart_of_the_server(tmp_path: Path, content: bytes) -> None:
    settings = Settings(port=0, data_dir=tmp_path)
    running = RunningServer(settings)
    with grpc.insecure_channel(running.target) as channel:
        break_off_after(LifecycleServiceStub(channel), content, 600_000)
    running.stop()
    running = RunningServer(settings)
    with grpc.insecure_channel(running.target) as channel:
        raw = LifecycleServiceStub(channel)
        assert upload(raw, header(content)) == (600_000, False)
        assert upload(raw, header(content, 600_000), chunk(content[600_000:])) == (SIZE, True)
    running.stop()


def test_blob_that_lacks_only_its_verification_needs_no_bytes(raw: LifecycleServiceStub, content: bytes) -> None:
    break_off_after(raw, content, SIZE)
    assert upload_once_free(raw, header(content, SIZE)) == (SIZE, True)


def test_offset_that_the_server_does_not_hold_is_refused_with_the_right_one(
    raw: LifecycleServiceStub, content: bytes
) -> None:
    fix = "must be {}, the number of bytes that the server has, or 0 to start again"
    assert refused(raw, header(content, 5), chunk(b"x")) == [("header.offset", fix.format(0))]
    break_off_after(raw, content, 600_000)
    upload_once_free(raw, header(content))
    for offset in (599_999, 600_001):
        with pytest.raises(errors.InvalidField, match=fix.format(600_000)):
            upload_once_free(raw, header(content, offset), chunk(content[offset:]))
    assert upload(raw, header(content)) == (600_000, False)


def test_offset_zero_begins_anew(raw: LifecycleServiceStub, content: bytes) -> None:
    broken = Hanging(raw, header(content), chunk(b"wrong from the start"))
    wait_for(raw, content, 20)
    broken.break_off()
    assert upload_once_free(raw, header(content), chunk(content)) == (SIZE, True)


def test_wrong_content_is_refused_and_removed(raw: LifecycleServiceStub, content: bytes) -> None:
    with pytest.raises(errors.DigestMismatch) as caught:
        upload(raw, header(content), chunk(bytes(SIZE)))
    assert caught.value.metadata == {
        "expected": hashlib.sha256(content).hexdigest(),
        "actual": hashlib.sha256(bytes(SIZE)).hexdigest(),
    }
    assert upload(raw, header(content)) == (0, False)


def test_wrong_beginning_of_an_earlier_upload_is_found_out(raw: LifecycleServiceStub, content: bytes) -> None:
    broken = Hanging(raw, header(content), chunk(bytes(600_000)))
    wait_for(raw, content, 600_000)
    broken.break_off()
    with pytest.raises(errors.DigestMismatch):
        upload_once_free(raw, header(content, 600_000), chunk(content[600_000:]))
    assert upload(raw, header(content), chunk(content)) == (SIZE, True)


@pytest.mark.parametrize("announced", [SIZE - 1, SIZE + 1])
def test_size_that_was_not_announced_is_refused(raw: LifecycleServiceStub, content: bytes, announced: int) -> None:
    fix = f"{SIZE} bytes were received, {announced} were declared; declare the size that you send"
    assert refused(raw, header(content, size=announced), chunk(content)) == [("header.size_bytes", fix)]
    assert not upload(raw, header(content))[1]


def test_chunk_before_any_header_is_refused(raw: LifecycleServiceStub) -> None:
    assert [field for field, _ in refused(raw, chunk(b"x"))] == ["chunk"]


@pytest.mark.parametrize("offset", [0, 600_000])
def test_second_of_two_uploads_at_once_does_not_wait_for_the_first(
    raw: LifecycleServiceStub, content: bytes, offset: int
) -> None:
    first = Hanging(raw, header(content), chunk(content[:600_000]))
    wait_for(raw, content, 600_000)
    assert upload(raw, header(content, offset), chunk(content[offset:])) == (SIZE, True)
    [blob] = first.end().blobs
    assert blob.complete


def test_second_of_two_uploads_that_breaks_off_leaves_nothing(
    server: RunningServer, raw: LifecycleServiceStub, content: bytes
) -> None:
    first = Hanging(raw, header(content), chunk(content[:600_000]))
    wait_for(raw, content, 600_000)
    incoming = server.settings.blobs_folder / "incoming"
    before = set(incoming.iterdir())
    second = Hanging(raw, header(content), chunk(content[:500]))
    eventually(lambda: len(set(incoming.iterdir()) - before) == 1)
    second.break_off()
    eventually(lambda: set(incoming.iterdir()) <= before)
    first.break_off()
    assert upload_once_free(raw, header(content, 600_000), chunk(content[600_000:])) == (SIZE, True)


def test_upload_of_what_became_complete_meanwhile_is_no_error(raw: LifecycleServiceStub, content: bytes) -> None:
    late = Hanging(raw, header(content))
    assert upload(raw, header(content), chunk(content)) == (SIZE, True)
    assert upload(raw, header(content), chunk(content)) == (SIZE, True)
    assert upload(raw, header(content, 600_000), chunk(content[600_000:])) == (SIZE, True)
    [blob] = late.end().blobs
    assert blob.complete


def test_empty_blob_needs_only_its_header(raw: LifecycleServiceStub) -> None:
    assert upload(raw, header(b"", size=0)) == (0, True)


def test_several_blobs_come_in_one_stream(raw: LifecycleServiceStub, content: bytes) -> None:
    other = content[::-1]
    parts = [header(content), chunk(content), header(other), chunk(other[:700]), chunk(other[700:])]
    answer = raw.UploadBlobs(iter(parts), timeout=PATIENCE_SECONDS)
    assert [blob.complete for blob in answer.blobs] == [True, True]


@pytest.mark.system
def test_uploads_that_nobody_goes_on_with_are_removed_at_the_start(tmp_path: Path, content: bytes) -> None:
    incoming = tmp_path / "blobs" / "incoming"
    incoming.mkdir(parents=True)
    kept = {}
    for age, data in ((KEEP_UNFINISHED + timedelta(hours=1), content), (KEEP_UNFINISHED / 2, content[::-1])):
        part = incoming / f"{hashlib.sha256(data).hexdigest()}.part"
        part.write_bytes(data[:1000])
        written = time.time() - age.total_seconds()
        os.utime(part, (written, written))
        kept[part] = age < KEEP_UNFINISHED
    running = RunningServer(Settings(port=0, data_dir=tmp_path))
    with grpc.insecure_channel(running.target) as channel:
        raw = LifecycleServiceStub(channel)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while upload(raw, header(content))[0]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert upload(raw, header(content[::-1])) == (1000, False)
    running.stop()
    assert {part: part.exists() for part in kept} == kept

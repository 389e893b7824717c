"""A disk that fails while files come in: callers hear what is wrong, and nothing counts as kept that is not."""

import errno
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import grpc
import pytest

from modelward import AsyncClient, Client
from modelward.errors import LimitReached, ModelwardError, StoreReadOnly, StoreUnavailable
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.settings import Settings
from modelward_server.storage import blobs
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Starts servers.

TOLD: dict[int, tuple[type[ModelwardError], dict[str, str]]] = {
    errno.EIO: (StoreUnavailable, {"store": "files"}),
    errno.ESTALE: (StoreUnavailable, {"store": "files"}),
    errno.EROFS: (StoreReadOnly, {"store": "files"}),
    errno.EACCES: (StoreReadOnly, {"store": "files"}),
    errno.EDQUOT: (LimitReached, {"limit": "disk"}),
    errno.EMFILE: (LimitReached, {"limit": "open_files"}),
}
"""What a caller is told of each error."""


@pytest.fixture(scope="session")
def database_url() -> str:
    """Files do not touch the database: one is enough here."""
    return ""


@pytest.fixture
def content() -> bytes:
    """Bytes that no other test has."""
    return uuid4().bytes


@pytest.fixture
def raw(server: RunningServer) -> Iterator[LifecycleServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield LifecycleServiceStub(channel)


def upload(raw: LifecycleServiceStub, content: bytes, *, only_ask: bool = False) -> tuple[int, bool]:
    """Return how much of a blob the server has, and whether that is all."""
    header = pb.BlobHeader(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    parts = [pb.UploadBlobsRequest(header=header), pb.UploadBlobsRequest(chunk=content)]
    try:
        [blob] = raw.UploadBlobs(iter(parts[:1] if only_ask else parts), timeout=PATIENCE_SECONDS).blobs
    except grpc.RpcError as error:
        raise error_of(error) from None
    return blob.received_bytes, blob.complete


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise OSError(code, os.strerror(code), "/var/lib/modelward/blobs/incoming")

    return fail


class _NotWritable:
    def __init__(self, file: IO[bytes], code: int) -> None:
        self._file = file
        self.write = failing(code)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def fail_to_open(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(blobs, "_locked", failing(code))


def fail_to_write(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    opened = blobs._locked
    monkeypatch.setattr(blobs, "_locked", lambda path: _NotWritable(opened(path), code))


def fail_to_sync(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "fsync", failing(code))


@pytest.mark.parametrize("fail", [fail_to_open, fail_to_write, fail_to_sync])
@pytest.mark.parametrize("code", TOLD)
def test_an_upload_says_what_is_wrong_with_the_disk_and_keeps_nothing_that_may_be_lost(
    raw: LifecycleServiceStub,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pytest.MonkeyPatch, int], None],
    code: int,
) -> None:
    kind, metadata = TOLD[code]
    with monkeypatch.context() as failing_disk:
        fail(failing_disk, code)
        with pytest.raises(kind) as told:
            upload(raw, content)
    assert type(told.value) is kind
    assert told.value.metadata == metadata
    assert "/var/lib" not in told.value.message
    assert upload(raw, content, only_ask=True) == (0, False)  # It is sent anew, and not only synced again.
    assert upload(raw, content) == (len(content), True)


async def test_every_client_hears_of_a_disk_that_fails(
    client: AsyncClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.bin").write_bytes(uuid4().bytes)
    with monkeypatch.context() as failing_disk:
        fail_to_open(failing_disk, errno.EROFS)
        with pytest.raises(StoreReadOnly, match="Read-only file system"):
            await client.register(name, tmp_path / "model.bin")
    assert (await client.register(name, tmp_path / "model.bin")).version == 1


@pytest.fixture
def own_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def mount_again(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


@pytest.fixture
def away(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server whose files are in a folder that can be taken away, and that folder."""
    blobs = tmp_path / "share"
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", blobs_dir=str(blobs)))
    yield running.target, blobs
    running.stop()


def test_an_upload_to_a_folder_that_is_gone_waits_for_it(away: tuple[str, Path], tmp_path: Path) -> None:
    target, blobs = away
    (tmp_path / "model.bin").write_bytes(b"model")
    blobs.rename(tmp_path / "unmounted")
    blobs.mkdir()
    with grpc.insecure_channel(target) as channel, pytest.raises(StoreUnavailable, match="does not answer") as told:
        upload(LifecycleServiceStub(channel), b"model")
    assert told.value.metadata == {"store": "blobs"}
    with Client(target, timeout=PATIENCE_SECONDS) as client, ThreadPoolExecutor(1) as pool:
        version = pool.submit(client.register, "spx", tmp_path / "model.bin")
        blobs.rmdir()
        (tmp_path / "unmounted").rename(blobs)
        assert version.result().version == 1


def test_a_disk_that_was_mounted_to_be_read_only_takes_uploads_when_it_is_writable_again(
    own_disk: Path, tmp_path: Path
) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", blobs_dir=str(own_disk / "blobs")))
    (tmp_path / "model.bin").write_bytes(b"model")
    (tmp_path / "next.bin").write_bytes(b"next")
    with Client(running.target, timeout=PATIENCE_SECONDS) as client:
        client.register("spx", tmp_path / "model.bin")
        mount_again(own_disk, "ro")
        with pytest.raises(StoreReadOnly, match="writable"):
            client.register("spx", tmp_path / "next.bin")
        client.download("spx/1", tmp_path / "copy")
        mount_again(own_disk, "rw")
        assert client.register("spx", tmp_path / "next.bin").version == 2
    running.stop()

"""Servers that share one folder of blobs: what one began another goes on with, and who is second does no harm."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import grpc
import numpy as np
import pytest

from modelward.errors import ConcurrentChange
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.settings import Settings
from modelward_server.storage.blobs import KEEP_UNFINISHED, BlobStore
from tests.storage.test_blobs import SIZE, Hanging, chunk, header, upload, wait_for
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

CONTENT = np.random.default_rng(7).bytes(SIZE)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LifecycleServiceStub]]:
    """Two servers with data folders of their own and one folder of blobs."""
    folder = tmp_path_factory.mktemp("replicas")
    settings = (Settings(port=0, data_dir=folder / name, blobs_dir=str(folder / "shared")) for name in "ab")
    servers = [RunningServer(each) for each in settings]
    channels = [grpc.insecure_channel(server.target) for server in servers]
    yield list(map(LifecycleServiceStub, channels))
    for channel, server in zip(channels, servers, strict=True):
        channel.close()
        server.stop()


def test_upload_goes_on_at_another_server_while_the_first_still_waits(replicas: list[LifecycleServiceStub]) -> None:
    first, second = replicas
    hanging = Hanging(first, header(CONTENT), chunk(CONTENT[:600_000]))
    wait_for(first, CONTENT, 600_000)
    assert upload(second, header(CONTENT)) == (600_000, False)
    assert upload(second, header(CONTENT, 600_000), chunk(CONTENT[600_000:])) == (SIZE, True)
    hanging.break_off()
    assert upload(first, header(CONTENT)) == (SIZE, True)


def test_old_upload_that_somebody_goes_on_with_stays(tmp_path: Path) -> None:
    ours, other = BlobStore(tmp_path), BlobStore(tmp_path)
    part = tmp_path / "incoming" / f"{SHA256}.part"
    part.write_bytes(CONTENT[:1000])
    long_ago = time.time() - 2 * KEEP_UNFINISHED.total_seconds()
    os.utime(part, (long_ago, long_ago))
    blob = ours.receive(SHA256, SIZE, 1000)
    other.remove_stale()
    while blob.read_existing():
        pass
    blob.write(CONTENT[1000:])
    blob.finish()
    blob.close()
    assert other.read_bytes(SHA256) == CONTENT
    assert list((tmp_path / "incoming").iterdir()) == []


def test_third_upload_leaves_the_first_whole_after_the_second_has_ended(tmp_path: Path) -> None:
    store, other = BlobStore(tmp_path), BlobStore(tmp_path)
    first = store.receive(SHA256, SIZE, 0)
    first.write(CONTENT)
    other.put_bytes(CONTENT)
    with pytest.raises(ConcurrentChange, match="has just ended"):
        other.receive(SHA256, SIZE, 0)
    first.finish()
    first.close()
    assert store.read_bytes(SHA256) == CONTENT
    assert list((tmp_path / "incoming").iterdir()) == []


WRITE = """
import contextlib, hashlib, sys
from pathlib import Path
from modelward.errors import ConcurrentChange
from modelward_server.storage.blobs import BlobStore

store, content = BlobStore(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes()
sys.stdin.readline()
for number in range(30):
    data = content + bytes([number])
    sha256 = hashlib.sha256(data).hexdigest()
    if number % 3 == int(sys.argv[3]):
        store.put_bytes(data)
    while not store.has(sha256, len(data)):
        with contextlib.suppress(ConcurrentChange):
            blob = store.receive(sha256, len(data), 0)
            try:
                blob.write(data)
                blob.finish()
            finally:
                blob.close()
    assert store.read_bytes(sha256) == data
    store.remove_stale()
"""


def test_processes_that_write_one_blob_at_once_leave_it_whole(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    command = [sys.executable, "-c", WRITE, str(tmp_path / "shared"), str(tmp_path / "content")]
    writers = [subprocess.Popen([*command, str(one)], stdin=PIPE, stderr=PIPE, text=True) for one in range(3)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("now\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=PATIENCE_SECONDS)[1] for writer in writers] == [""] * 3
    blobs = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "shared").glob("??/*")}
    assert len(blobs) == 30
    assert list(blobs) == list(blobs.values())
    assert list((tmp_path / "shared" / "incoming").iterdir()) == []

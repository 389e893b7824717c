"""A client that does not read what it asked for holds nothing for long."""

import os
from pathlib import Path

import grpc
import pytest

from modelward import Client
from modelward.v1 import common_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.interceptors import unread
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Takes seconds.

SIZE = 32 << 20


def is_open(path: Path) -> bool:
    """Tell whether this process, in which the server runs, has a file open."""
    found = False
    for handle in Path("/proc/self/fd").iterdir():
        try:
            found = found or handle.readlink() == path
        except FileNotFoundError:
            continue
    return found


def test_download_that_nobody_reads_is_let_go(
    server: RunningServer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.bin").write_bytes(os.urandom(SIZE))
    with Client(server.target, timeout=PATIENCE_SECONDS) as client:
        version = client.register(name, tmp_path / "model.bin")
    blob = server.app.blobs.path(version.files[0].sha256)
    monkeypatch.setattr(unread, "MAX_UNREAD_SECONDS", 0.5)
    with grpc.insecure_channel(server.target) as channel:
        ref = common_pb2.ModelVersionRef(model=name, version=1)
        call = LifecycleServiceStub(channel).DownloadArtifact(pb.DownloadArtifactRequest(version=ref))
        next(call)
        eventually(lambda: is_open(blob))
        eventually(lambda: not is_open(blob))
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    error: grpc.RpcError = caught.value
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "the client read nothing for 0.5 s"

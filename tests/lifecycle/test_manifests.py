"""Names of files that cannot lie in one folder are refused, by whichever way they come."""

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelward import Client
from modelward.errors import InvalidField
from modelward.lifecycle import ArtifactFile
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import ArtifactFile as SentFile
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.lifecycle.files import check_paths
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

CONTENT = b"model"
WRONG = {
    "a file is a folder": ["a", "a/b"],
    "a file is a folder further up": ["a/b/c/d", "a/b"],
    "a part over 255 bytes": ["x" * 256],
    "a part over 255 bytes, of fewer characters": ["folder/" + "é" * 128],
    "a control character": ["a\x7fb"],
    "one of C1": ["a\x9bb"],
    "a tab": ["a\tb"],
    "a slash at the end": ["a/"],
    "a slash at the beginning": ["/a"],
    "two slashes": ["a//b"],
    "here": ["./a"],
    "above": ["a/../b"],
    "a backslash": ["a\\b"],
    "too long": ["/".join(["x" * 200] * 3)],
}
RIGHT = ["a", "ab/c", "ab/d", "a.b", "x" * 255, "é" * 127, "..a", "a b/ü.txt"]


def _error(server: RunningServer, request: pb.RegisterModelVersionRequest) -> Exception:
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = LifecycleServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.RegisterModelVersion(request, timeout=PATIENCE_SECONDS)
    return error_of(refused.value)


@pytest.mark.system
@pytest.mark.parametrize("names", WRONG.values(), ids=WRONG)
@pytest.mark.weekly("postgresql")
def test_manifest_is_refused(server: RunningServer, name: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    with Client(server.target) as client:
        client.register(name, tmp_path / "model.bin")
    files = [SentFile(path=path, size_bytes=len(CONTENT), sha256=digest) for path in names]
    request = pb.RegisterModelVersionRequest(model=name, manifest=pb.ArtifactManifest(files=files))
    assert isinstance(_error(server, request), InvalidField)
    with Client(server.target) as client:
        assert client.get_model(name).latest_version == 1


def test_source_is_held_to_the_same_rules(server: RunningServer, name: str, inbox: Path) -> None:
    folder = inbox / name
    folder.mkdir()
    (folder / "a\x07b").write_bytes(CONTENT)
    request = pb.RegisterModelVersionRequest(model=name, source_uri=folder.as_uri())
    assert isinstance(_error(server, request), InvalidField)


def test_what_a_folder_may_hold_is_right() -> None:
    check_paths([ArtifactFile(path, 0, "") for path in RIGHT])

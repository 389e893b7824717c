"""Packs of many versions that are changed while they are written: each is told as it was when the export began."""

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from modelward import Client
from modelward.evidence.verify import verify_pack
from modelward.v1 import governance_pb2 as pb
from modelward.v1.governance_pb2_grpc import GovernanceServiceStub
from modelward_server.settings import Settings
from tests.evidence.test_pack import read
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

LARGE_BYTES = 24 << 20
"""More than gRPC takes from the server before the client reads."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[RunningServer, Client]]:
    """A server with a large version in production and a small one."""
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    with Client(running.target, actor="ada") as client:
        for name, size in (("a-large", LARGE_BYTES), ("b-small", 100)):
            file = tmp_path / f"{name}.bin"
            file.write_bytes(os.urandom(size))
            version = client.register(name, file, tags={"desk": "before"})
            client.promote(version, to="staging")
            client.promote(version, to="production", reason="it passed its tests")
        yield running, client
    running.stop()


def test_a_version_that_is_changed_during_an_export_is_told_as_its_records_are(
    registry: tuple[RunningServer, Client], tmp_path: Path
) -> None:
    running, client = registry
    pack = tmp_path / "all.zip"
    with grpc.insecure_channel(running.target) as channel, pack.open("wb") as file:
        answers = GovernanceServiceStub(channel).ExportEvidence(pb.ExportEvidenceRequest())
        file.write(next(answers).chunk)
        client.update_version("b-small/1", tags={"desk": "after"}, description="changed")
        client.halt("b-small", reason="changed")
        file.writelines(answer.chunk for answer in answers)
    assert verify_pack(pack).defects == ()
    version = read(pack, "versions/b-small/1/version.json")
    assert (version["tags"], version.get("description")) == ({"desk": "before"}, None)
    assert "halt" not in read(pack, "versions/b-small/1/model.json")
    kinds = [entry["record"]["kind"] for entry in read(pack, "versions/b-small/1/records.json")]
    assert "halted" not in kinds
    assert client.get_version("b-small/1").tags == {"desk": "after"}

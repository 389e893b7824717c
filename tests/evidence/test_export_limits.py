"""Limits of exports: how many at once, of all clients and of one, and for how long."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelward import Client, errors
from modelward.shared.retry import error_of
from modelward.v1 import governance_pb2 as pb
from modelward.v1.governance_pb2_grpc import GovernanceServiceStub
from modelward_server.rpc import evidence, governance
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Starts servers.


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(governance, "MAX_EXPORTS_OF_CLIENT", 2)
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    (tmp_path / "model.bin").write_bytes(os.urandom(16 << 20))  # More than gRPC takes before it is read.
    with Client(running.target) as client:
        client.register("spx", tmp_path / "model.bin")
    yield running
    running.stop()


@pytest.fixture
def stub(running: RunningServer) -> Iterator[Any]:
    with grpc.insecure_channel(running.target) as channel:
        yield GovernanceServiceStub(channel)


def begun(stub: Any) -> Any:
    """Begin an export, and read no more than its first piece."""
    request = pb.ExportEvidenceRequest()
    request.version.model, request.version.version = "spx", 1
    export = stub.ExportEvidence(request, timeout=PATIENCE_SECONDS)
    try:
        next(export)
    except grpc.RpcError as error:
        raise error_of(error) from None
    return export


def test_a_client_that_reads_nothing_has_few_exports_open(stub: Any) -> None:
    open_exports = [begun(stub) for _ in range(2)]
    with pytest.raises(errors.LimitReached, match="has 2 exports of evidence under way") as refused:
        begun(stub)
    assert (refused.value.metadata, refused.value.retry_seconds) == ({"limit": "evidence_exports"}, 1.0)
    for export in open_exports:
        export.cancel()

    def is_admitted() -> bool:
        try:
            begun(stub).cancel()
        except errors.LimitReached:
            return False
        return True

    eventually(is_admitted)


def test_an_export_that_takes_too_long_is_ended(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MAX_EXPORT_SECONDS", 0.0)
    with pytest.raises(errors.DeadlineExceeded, match="the export took more than 0 s; read it faster"):
        begun(stub)

"""A registration is one operation: files, version and reference together, once, or nothing."""

import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelward import AsyncClient, Client, errors
from modelward.v1 import drift_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import STAGE_TRAINING, ModelVersionRef
from tests.support.clients import collect
from tests.support.flaky_proxy import FlakyProxy
from tests.support.misbehaving_server import misbehaving_server
from tests.support.running_server import RunningServer
from tests.support.scale import FULL

SMALL: dict[str, Any] = {"momentum": np.linspace(-1, 1, 300), "symbol": ["SPX"] * 300}
LARGE: dict[str, Any] = {"momentum": np.random.default_rng(1).normal(size=300_000)}
"""A table that is uploaded by itself, since it is larger than one message."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(uuid4().bytes)
    return tmp_path / "model.bin"


@pytest.mark.system
@pytest.mark.parametrize("table", [SMALL, LARGE], ids=["small", "large"])
async def test_version_is_returned_with_its_reference(
    client: AsyncClient, name: str, model: Path, table: dict[str, Any]
) -> None:
    ignore = ["symbol"] if "symbol" in table else []
    version = await client.register(name, model, reference=table, ignore=ignore)
    assert version.references == ("default",)
    assert version == await client.get_version(version)
    registered = await client.get_reference(version)
    afterwards = await client.set_reference(version, table, name="afterwards", ignore=ignore)
    assert (registered.features, registered.rows) == (afterwards.features, afterwards.rows)
    assert (registered.digest, registered.ignored_columns) == (afterwards.digest, tuple(ignore))


@pytest.mark.system
async def test_reference_may_be_files_that_the_server_reads(
    client: AsyncClient, name: str, model: Path, inbox: Path
) -> None:
    path = inbox / f"{name}.parquet"
    pq.write_table(pa.table(SMALL), path)
    there = inbox / f"{name}.bin"
    shutil.copy(model, there)
    one = await client.register(name, model, reference=path.as_uri(), ignore=["symbol"])
    two = await client.register_uri(name, there.as_uri(), reference=path.as_uri(), ignore=["symbol"])
    assert one.references == two.references == ("default",)
    assert (await client.get_reference(one)).digest == (await client.get_reference(two)).digest


@pytest.mark.parametrize(
    ("reference", "ignore", "field"),
    [
        ({"when": np.array(["2008-09-15", "2008-09-16"], "datetime64[s]")}, [], "reference.data"),
        ({"symbol": ["SPX", "NDX"]}, ["symbol"], "reference"),
        ("file:///nowhere/at/all.parquet", [], ""),
        ({"a": [1.0, 2.0], "b": [1.0]}, [], "reference"),
        (None, ["symbol"], "ignore"),
    ],
    ids=["times only", "ignored only", "not allowed", "ragged", "nothing to ignore"],
)
async def test_reference_that_is_refused_registers_nothing(
    client: AsyncClient, name: str, model: Path, reference: Any, ignore: list[str], field: str
) -> None:
    with pytest.raises((errors.InvalidField, errors.SourceNotAllowed)) as caught:
        await client.register(name, model, reference=reference, ignore=ignore)
    if isinstance(caught.value, errors.InvalidField):
        assert [violation.field.partition("[")[0] for violation in caught.value.violations] == [field]
    with pytest.raises(errors.ModelNotFound):
        await client.get_model(name)


@pytest.mark.system
async def test_callers_own_request_id_makes_its_retry_the_same_registration(
    client: AsyncClient, name: str, model: Path
) -> None:
    own = str(uuid4())
    first = await client.register(name, model, reference=SMALL, ignore=["symbol"], request_id=own)
    again = await client.register(name, model, reference=SMALL, ignore=["symbol"], request_id=own)
    assert (again.ref, again.created_at, again.references) == (first.ref, first.created_at, ("default",))
    assert len(await collect(client.list_versions(name))) == 1
    with pytest.raises(errors.RequestIdReused):
        await client.register(name, model, reference=LARGE, request_id=own)
    assert len(await collect(client.list_versions(name))) == 1


@pytest.mark.system
async def test_audit_log_has_the_registration_and_its_reference_in_one_transaction(
    client: AsyncClient, name: str, model: Path
) -> None:
    await client.register(name, model, reference=SMALL, ignore=["symbol"])
    records = [one for one in await collect(client.export_audit_log()) if one.model == name]
    assert [one.kind for one in records] == ["registered", "version"]
    assert len({one.happened_at for one in records}) == 1


@pytest.mark.system  # Takes seconds.
@pytest.mark.parametrize(
    ("rows", "places"), [(300, 8 if FULL else 3), (300_000, 3 if FULL else 1)], ids=["small", "large"]
)
@pytest.mark.weekly("postgresql")
def test_connection_that_breaks_at_any_place_leaves_one_version_with_its_reference(
    server: RunningServer, name: str, model: Path, rows: int, places: int
) -> None:
    carried = _register_through(server, f"{name}-whole", model, rows)
    with Client(server.target) as observer:
        for number in range(1, places + 1):
            broken = f"{name}-{number}"
            _register_through(server, broken, model, rows, carried * number // (places + 1))
            [version] = observer.list_versions(broken)
            assert (version.version, version.references) == (1, ("default",))
            assert observer.get_reference(version).rows == rows


def _register_through(server: RunningServer, name: str, model: Path, rows: int, *breaks_at: int) -> int:
    """Register files and data that the server does not have yet, over a network that breaks; return its bytes."""
    model.write_bytes(uuid4().bytes)
    network = FlakyProxy(server.target)
    network.breaks_at = list(breaks_at)
    with Client(network.address) as client:
        values = np.random.default_rng(uuid4().int).normal(size=rows)
        assert client.register(name, model, reference={"momentum": values}).references == ("default",)
    network.close()
    assert not network.breaks_at
    return network.carried


def test_server_that_does_not_know_the_field_gets_the_reference_in_a_second_call(model: Path) -> None:
    version = pb.ModelVersion(model="spx", version=1, stage=STAGE_TRAINING, etag="e")
    with misbehaving_server() as old, Client(old.target) as client:
        headers: list[drift_pb2.ReferenceHeader] = []
        old.answers = {
            "UploadBlobs": lambda parts, _: [_all_there(parts)],
            "RegisterModelVersion": lambda *_: [pb.RegisterModelVersionResponse(version=version)],
            "SetReference": lambda parts, _: [_accepted(parts, headers)],
            "GetModelVersion": lambda *_: [pb.GetModelVersionResponse(version=_with_reference(version))],
        }
        assert client.register("spx", model, reference=SMALL, ignore=["symbol"]).references == ("default",)
    [header] = headers
    assert header.version == ModelVersionRef(model="spx", version=1)
    assert (bool(header.data.arrow_ipc), list(header.ignored_columns)) == (True, ["symbol"])


def _all_there(parts: Any) -> pb.UploadBlobsResponse:
    """Answer that every blob of an upload is there already."""
    headers = [part.header for part in parts]
    return pb.UploadBlobsResponse(
        blobs=[pb.BlobStatus(sha256=one.sha256, received_bytes=one.size_bytes, complete=True) for one in headers]
    )


def _accepted(parts: Any, headers: list[drift_pb2.ReferenceHeader]) -> drift_pb2.SetReferenceResponse:
    headers.extend(part.header for part in parts)
    return drift_pb2.SetReferenceResponse()


def _with_reference(version: pb.ModelVersion) -> pb.ModelVersion:
    changed = pb.ModelVersion(references=["default"])
    changed.MergeFrom(version)
    return changed

"""Small messages and files that unpack to much: refused within the budget, whichever way they come."""

import hashlib
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelward import Client
from modelward.errors import InvalidField, LimitReached, ModelwardError
from modelward.shared.retry import error_of
from modelward.v1 import comparison_pb2, drift_pb2, lifecycle_pb2
from modelward.v1.common_pb2 import Dataset, ModelVersionRef
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.rpc.datasets import join_batches
from modelward_server.storage.table_memory import MEMORY, MemoryReservation
from tests.support.decompression_bombs import ARROW, BROKEN, BUDGET_MB, GROWING, PARQUET, arrow
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.system, pytest.mark.weekly]

MIB = 1 << 20
ROOM = 4096 * MIB
"""What the server's process may take beside what it has, so that a bomb that goes off ends it and not the machine."""
GROWTH_MB = 128
"""Twice the budget: what one message unpacks to, and what is made of it."""
DRIFT_MB = 400
"""What drift takes for data of any size: 96 MiB that it keeps whole, and two copies for sorting."""
VERSION = ModelVersionRef(model="spx", version=1)


@dataclass
class Target:
    """A server with a small budget, and what it keeps files in."""

    served: ForkedServer
    folder: Path

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.served.target, options=[("grpc.max_send_message_length", -1)])
        self.drift: Any = DriftServiceStub(self.channel)
        self.comparison: Any = ComparisonServiceStub(self.channel)
        self.lifecycle: Any = LifecycleServiceStub(self.channel)

    def memory(self, name: str) -> int:
        """Return a figure of the server's process in bytes."""
        lines = Path(f"/proc/{self.served.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

    def forget_peak(self) -> None:
        Path(f"/proc/{self.served.pid}/clear_refs").write_text("5")

    def upload(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        header = lifecycle_pb2.BlobHeader(sha256=digest, size_bytes=len(content))
        chunks = [content[i : i + MIB] for i in range(0, len(content), MIB)]
        parts = [lifecycle_pb2.UploadBlobsRequest(header=header)]
        parts += [lifecycle_pb2.UploadBlobsRequest(chunk=chunk) for chunk in chunks]
        self.lifecycle.UploadBlobs(iter(parts), timeout=PATIENCE_SECONDS)
        return digest

    def error(self, call: Callable[[], Any]) -> ModelwardError | None:
        """Return the error of a call."""
        try:
            answer = call()
            list(answer) if hasattr(answer, "__iter__") else None
        except grpc.RpcError as error:
            return error_of(error)
        return None


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("bombs")
    flags = ["--table-memory-mb", str(BUDGET_MB), "--allowed-sources", folder.as_uri()]
    target = Target(ForkedServer(folder / "data", folder / "log", *flags), folder)
    (folder / "model.bin").write_bytes(b"model")
    with Client(target.served.target, timeout=PATIENCE_SECONDS) as client:
        client.register("spx", folder / "model.bin", reference={"a": np.random.default_rng(0).normal(size=500)})
        client.register("spx", folder / "model.bin")
        client.detect_drift("spx/1", {"a": np.zeros(50)})  # What is loaded at the first need is there.
    most = target.memory("VmData") + ROOM
    resource.prlimit(target.served.pid, resource.RLIMIT_DATA, (most, most))
    yield target
    target.channel.close()
    target.served.kill()


def _detect(target: Target, data: Dataset) -> Any:
    return target.drift.DetectDrift(drift_pb2.DetectDriftRequest(version=VERSION, data=data), timeout=PATIENCE_SECONDS)


def _compare(target: Target, data: Dataset, *predictions: Dataset) -> Any:
    sent = [comparison_pb2.Predictions(version=VERSION, data=one) for one in predictions]
    versions = [VERSION, ModelVersionRef(model="spx", version=2)]
    request = comparison_pb2.CompareModelsRequest(versions=versions, data=data, predictions=sent)
    return target.comparison.CompareModels(request, timeout=PATIENCE_SECONDS)


def _stream(content: bytes, kind: type) -> Iterator[Any]:
    field = "arrow_ipc"
    yield from (kind(**{field: content[i : i + MIB]}) for i in range(0, len(content), MIB))


def _detect_stream(target: Target, content: bytes) -> Any:
    def parts() -> Iterator[drift_pb2.DetectDriftStreamRequest]:
        yield drift_pb2.DetectDriftStreamRequest(header=drift_pb2.DetectDriftHeader(version=VERSION))
        yield from _stream(content, drift_pb2.DetectDriftStreamRequest)

    return target.drift.DetectDriftStream(parts(), timeout=PATIENCE_SECONDS)


def _set_reference(target: Target, content: bytes) -> Any:
    def parts() -> Iterator[drift_pb2.SetReferenceRequest]:
        yield drift_pb2.SetReferenceRequest(header=drift_pb2.ReferenceHeader(version=VERSION, name="other"))
        yield from _stream(content, drift_pb2.SetReferenceRequest)

    return target.drift.SetReference(parts(), timeout=PATIENCE_SECONDS)


def _set_reference_by_data(target: Target, data: Dataset) -> Any:
    header = drift_pb2.ReferenceHeader(version=VERSION, name="other", data=data)
    return target.drift.SetReference(iter([drift_pb2.SetReferenceRequest(header=header)]), timeout=PATIENCE_SECONDS)


def _observe(target: Target, content: bytes) -> Any:
    header = drift_pb2.ObserveHeader(version=VERSION, sender="a", rows=1000)
    batch = drift_pb2.ObserveBatch(number=1, data=Dataset(arrow_ipc=content))
    return target.drift.Observe(
        iter([drift_pb2.ObserveRequest(header=header), drift_pb2.ObserveRequest(batch=batch)]), timeout=PATIENCE_SECONDS
    )


WAYS: dict[str, Callable[[Target, bytes], Any]] = {
    "DetectDrift": lambda target, content: _detect(target, Dataset(arrow_ipc=content)),
    "DetectDrift of a blob": lambda target, content: _detect(target, Dataset(blob=target.upload(content))),
    "DetectDriftStream": _detect_stream,
    "SetReference": _set_reference,
    "SetReference of a blob": lambda target, content: _set_reference_by_data(
        target, Dataset(blob=target.upload(content))
    ),
    "Observe": _observe,
    "CompareModels": lambda target, content: _compare(target, Dataset(arrow_ipc=content)),
    "predictions": lambda target, content: _compare(
        target, Dataset(arrow_ipc=arrow(pa.table({"label": [0, 1]}))), Dataset(arrow_ipc=content)
    ),
    "BenchmarkModels": lambda target, content: target.comparison.BenchmarkModels(
        comparison_pb2.BenchmarkModelsRequest(versions=[VERSION], data=Dataset(arrow_ipc=content)),
        timeout=PATIENCE_SECONDS,
    ),
}
"""Every way in which Arrow comes."""


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return {name: make() for name, make in (ARROW | GROWING | BROKEN).items()}


@pytest.mark.parametrize("way", WAYS)
def test_arrow_is_refused_within_the_budget(target: Target, contents: dict[str, bytes], way: str) -> None:
    target.forget_peak()
    before = target.memory("VmRSS")
    errors = {name: target.error(lambda name=name: WAYS[way](target, contents[name])) for name in contents}  # type: ignore[misc]
    assert {name for name in ARROW if not isinstance(errors[name], LimitReached)} == set(), errors
    assert {name for name in BROKEN if not isinstance(errors[name], InvalidField)} == set(), errors
    assert isinstance(errors["a dictionary that grows"], LimitReached | InvalidField)
    assert {errors[name].metadata["limit"] for name in ARROW} == {"table_memory"}  # type: ignore[union-attr]
    assert target.memory("VmHWM") - before < GROWTH_MB * MIB


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_is_refused_within_the_budget(target: Target, name: str) -> None:
    content = PARQUET[name]()
    target.forget_peak()
    before = target.memory("VmRSS")
    (target.folder / "bomb.parquet").write_bytes(content)
    ways = [Dataset(blob=target.upload(content)), Dataset(uri=(target.folder / "bomb.parquet").as_uri())]
    errors = [target.error(lambda data=data: _detect(target, data)) for data in ways]  # type: ignore[misc]
    errors.append(target.error(lambda: _set_reference_by_data(target, ways[0])))
    assert {type(error) for error in errors} == {LimitReached}, errors
    assert target.memory("VmHWM") - before < DRIFT_MB * MIB


def test_table_larger_than_the_budget_is_read_in_parts(target: Target) -> None:
    rows = 6_000_000  # 46 MiB where one table may take 32.
    table = pa.table({"a": np.random.default_rng(1).normal(size=rows)})
    folder = target.folder / "large"
    folder.mkdir()
    for i in range(3):
        pq.write_table(table.slice(i * 2_000_000, 2_000_000), folder / f"{i}.parquet")
    by_uri = _detect(target, Dataset(uri=folder.as_uri()))
    streamed = _detect_stream(target, arrow(table, None, 100_000))
    assert by_uri.report.rows == streamed.report.rows == rows
    error = target.error(lambda: _set_reference_by_data(target, Dataset(uri=folder.as_uri())))
    assert isinstance(error, LimitReached)


def test_server_still_serves(target: Target) -> None:
    table = arrow(pa.table({"a": np.random.default_rng(2).normal(size=1_000)}))
    assert target.error(lambda: _set_reference(target, table)) is None
    assert "Traceback" not in target.served.log.read_text()


def test_budget_is_held_as_long_as_the_columns_and_refuses_what_is_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MEMORY, "limit", MEMORY.held + 4 * MIB)
    before, numbers = MEMORY.held, np.zeros(MIB // 8)
    columns = join_batches(iter([{"a": numbers, "s": np.array(["x"] * 1_000, object)}]), "data")
    held = MEMORY.held - before
    assert MIB + 8_000 < held < MIB + 100_000
    part = columns["a"][:10]
    del columns
    assert MEMORY.held - before == MIB  # A view keeps what it is a view of.
    with pytest.raises(LimitReached, match="2 MiB") as refused:
        join_batches(iter([{"a": np.zeros(MIB)}]), "data")
    assert refused.value.retry_seconds is None
    del part
    assert MEMORY.held == before


def test_memory_that_others_hold_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MEMORY, "limit", MEMORY.held + 4 * MIB)
    with MemoryReservation("a") as one, MemoryReservation("b") as other, MemoryReservation("c") as third:
        one.add(2 * MIB)
        other.add(2 * MIB)
        with pytest.raises(LimitReached) as refused:
            third.add(1)
    assert refused.value.retry_seconds

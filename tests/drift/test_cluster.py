"""Parquet data compared by a dask cluster of two workers: the report is that of one machine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster

from modelward import Client, DriftThresholds, ModelVersion
from modelward.errors import InvalidField, StoreUnavailable
from modelward.shared.retry import error_of
from modelward.v1 import drift_pb2 as pb
from modelward.v1.common_pb2 import Dataset
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import decide
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.sample import LiveSample
from modelward_server.storage.arrow_tables import arrow_columns
from modelward_server.storage.parquet_process import open_parquet
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system

random = np.random.default_rng(31)
TRAINING = {"ret": random.normal(size=2000), "venue": random.choice(["X", "Y"], 2000).astype(object)}


def _table(rows: int, venues: list[str]) -> pa.Table:
    ret = random.normal(0.4, 1.5, size=rows)
    ret[::9] = np.nan
    venue = [None if i % 11 == 0 else venues[i % len(venues)] for i in range(rows)]
    return pa.table({"ret": ret, "venue": venue})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Live data in files of several row groups, and a version's file."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "live" / "2026").mkdir(parents=True)
    pq.write_table(_table(4000, ["X", "Y"]), folder / "live" / "a.parquet", row_group_size=1500)
    pq.write_table(_table(900, ["X", "dark pool"]), folder / "live" / "b.parquet")
    pq.write_table(_table(3000, ["Y", "auction"]), folder / "live" / "2026" / "c.parquet", row_group_size=700)
    (folder / "strange").mkdir()
    pq.write_table(_table(10, ["X"]), folder / "strange" / "a.parquet")
    pq.write_table(pa.table({"ret": [0.1], "age": [1]}), folder / "strange" / "b.parquet")
    (folder / "model.bin").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    start: Any = LocalCluster
    with start(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


def _served(folder: Path, name: str, scheduler: str) -> ForkedServer:
    env = {"MODELWARD_ALLOWED_SOURCES": folder.as_uri(), "MODELWARD_DASK_SCHEDULER": scheduler}
    return ForkedServer(folder / name, folder / f"{name}.log", env=env)


@pytest.fixture(scope="module")
def client(folder: Path, scheduler: str) -> Iterator[Client]:
    """A client of a server that has a cluster."""
    served = _served(folder, "clustered", scheduler)
    with Client(served.target, timeout=PATIENCE_SECONDS) as client:
        yield client
    served.stop()


def _version(client: Client, folder: Path) -> ModelVersion:
    return client.register("spx", folder / "model.bin", reference=TRAINING)


def test_cluster_finds_what_one_machine_finds(client: Client, folder: Path) -> None:
    ours = client.detect_drift_uri(_version(client, folder), (folder / "live").as_uri())
    profile = build_profile(TRAINING)
    batches = (arrow_columns(batch, "data") for batch in open_parquet(str(folder / "live")).to_batches())
    taken = LiveSample({"default": profile}, "data", kept_bytes=1)  # One machine, too, counts what it cannot keep.
    for batch in batches:
        taken.add(batch)
    theirs = decide(compare(profile, taken, "default"), DriftThresholds())
    assert (ours.rows, taken.rows) == (7900, 7900)
    assert ours.feature("venue").new_categories == ("auction", "dark pool")
    assert (ours.drift_detected, ours.confidence, ours.drivers) == (True, theirs.confidence, theirs.drivers)
    assert ours.joint == theirs.joint
    for one, other in zip(ours.features, theirs.features, strict=True):
        assert replace(one, wasserstein=0.0) == replace(other, wasserstein=0.0)
        assert one.wasserstein == pytest.approx(other.wasserstein, rel=1e-9)


def test_folder_is_judged_by_all_of_its_files(client: Client, folder: Path) -> None:
    version, strange = _version(client, folder), (folder / "strange").as_uri()
    with pytest.raises(InvalidField, match=r"\['age'\]: is not a feature of the reference"):
        client.detect_drift_uri(version, strange)
    report = client.detect_drift_uri(version, strange, ignore=["age"])
    assert report.feature("venue").missing_share == 2 / 11, "one row of ten, and the file that lacks the column"


@pytest.mark.weekly
def test_cluster_that_is_away_is_an_unavailable_store(folder: Path) -> None:
    served = _served(folder, "alone", "tcp://127.0.0.1:1")
    with Client(served.target, timeout=PATIENCE_SECONDS) as client:
        version = _version(client, folder)
    asked = pb.DetectDriftRequest(data=Dataset(uri=(folder / "live").as_uri()))
    asked.version.model, asked.version.version = version.model, version.version
    with grpc.insecure_channel(served.target) as channel:
        stub: Any = DriftServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.DetectDrift(asked, timeout=PATIENCE_SECONDS)
    error = error_of(refused.value)
    assert isinstance(error, StoreUnavailable)
    assert "dask scheduler" in str(error)
    served.stop()

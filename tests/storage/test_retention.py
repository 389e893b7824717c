"""What is kept for a time only goes when its time is over, in small steps, and nothing else does."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen
from uuid import UUID, uuid4

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from modelward import Client, ScoreRecord
from modelward._request_ids import new_request_id
from modelward.errors import RequestIdReused
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.scoring.score_log import record_scores
from modelward_server.settings import Settings
from modelward_server.storage.retention import BATCH, Retention, created_at
from modelward_server.storage.tables import RequestRow
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Each test starts a server, and waits for its sweeps.

KINDS = ("answers", "reports", "logs", "silent_engines", "engines", "scores", "rows", "blobs")
LIFETIMES = {kind: timedelta(days=2) for kind in KINDS}
MAX_ROW_BYTES = 1 << 30


@pytest.fixture(params=DATABASES)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    url = "" if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))
    running = RunningServer(Settings(port=0, metrics_port=0, data_dir=tmp_path / "data", database_url=url))
    yield running
    running.stop()


@pytest.fixture
def client(running: RunningServer) -> Iterator[Client]:
    with Client(running.target) as client:
        yield client


@pytest.fixture
def raw(running: RunningServer) -> Iterator[LifecycleServiceStub]:
    with grpc.insecure_channel(running.target) as channel:
        yield LifecycleServiceStub(channel)


def sweep(running: RunningServer, days: float) -> dict[str, int]:
    """Sweep as the server does so many days from now, and return how much went of each."""
    at = datetime.now(UTC) + timedelta(days=days)
    retention = Retention(running.app.ledger, running.app.blobs, LIFETIMES, MAX_ROW_BYTES, clock=lambda: at)
    for _ in retention.steps():
        pass
    return retention.swept


def create(raw: LifecycleServiceStub, request_id: str, model: str) -> pb.CreateModelResponse:
    try:
        return raw.CreateModel(pb.CreateModelRequest(model=model, request_id=request_id), timeout=PATIENCE_SECONDS)
    except grpc.RpcError as error:
        raise error_of(error) from None


def aged(days: float) -> str:
    """Return an id as the SDK made it so many days ago."""
    return str(UUID(int=UUID(new_request_id()).int - (round(days * 86_400_000) << 80)))


@given(st.integers(0, (1 << 48) - 1))
def test_request_id_of_version_7_tells_when_it_was_made(milliseconds: int) -> None:
    fresh = UUID(new_request_id())
    assert (fresh.version, fresh.variant) == (7, "specified in RFC 4122")
    at = min(milliseconds, 253_402_300_799_999)
    value = UUID(int=fresh.int & ((1 << 80) - 1) | at << 80)
    assert created_at(str(value)) == datetime.fromtimestamp(at / 1000, UTC)


def test_request_id_of_another_version_does_not_tell_when_it_was_made() -> None:
    assert created_at(str(uuid4())) is None


def test_repeated_request_gets_its_answer_until_that_is_forgotten_and_is_then_refused(
    running: RunningServer, raw: LifecycleServiceStub
) -> None:
    ids = [aged(0.01), str(uuid4()), aged(-0.5)]  # The last is of a client whose clock is ahead.
    first = [create(raw, request_id, f"model-{number}") for number, request_id in enumerate(ids)]
    assert sweep(running, 1)["answers"] == 0
    assert [create(raw, request_id, f"model-{number}") for number, request_id in enumerate(ids)] == first
    assert sweep(running, 3)["answers"] == 3
    with running.app.ledger.reading() as session:  # Of an id that tells its age nothing is left.
        assert set(session.scalars(select(RequestRow.request_id))) == set(ids[1:])
        assert session.scalar(select(func.sum(func.length(RequestRow.answer)))) == 0
    for number, request_id in enumerate(ids[1:], 1):
        with pytest.raises(RequestIdReused, match="no longer kept"):
            create(raw, request_id, f"model-{number}")
    assert create(raw, new_request_id(), "another").model.name == "another"


def test_old_request_id_that_left_no_trace_is_refused(running: RunningServer, raw: LifecycleServiceStub) -> None:
    old = aged(5)
    create(raw, old, "spx")
    assert create(raw, aged(5), "vix").model.name == "vix"  # Nothing was ever forgotten.
    assert sweep(running, 3)["answers"] == 2
    with pytest.raises(RequestIdReused, match="clock"):
        create(raw, old, "spx")


@pytest.mark.weekly("postgresql")
def test_answers_are_swept_in_small_steps(running: RunningServer) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=9)
    with running.app.ledger.writing() as session:
        for _ in range(2 * BATCH + 1):
            session.add(
                RequestRow(request_id=str(uuid4()), digest="", answer_type="x", answer=b"", answered_at=long_ago)
            )
    retention = Retention(running.app.ledger, running.app.blobs, LIFETIMES, MAX_ROW_BYTES)
    steps, seen = retention.steps(), []
    for _ in range(3):
        next(steps)
        seen.append(retention.swept["answers"])
    assert seen == [BATCH, 2 * BATCH, 2 * BATCH + 1]


@pytest.mark.weekly("postgresql")
def test_drift_reports_go_but_for_the_newest_of_each_version(
    running: RunningServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"a model")
    for name in ("spx", "vix"):
        version = client.register(name, tmp_path / "model.bin", reference={"x": np.arange(50.0)})
        reports = [client.detect_drift(version, {"x": np.arange(20.0)}) for _ in range(3)]
    assert sweep(running, 1)["reports"] == 0
    assert sweep(running, 3)["reports"] == 4
    assert [report.report_id for report in client.list_drift_reports("vix")] == [reports[-1].report_id]


@pytest.mark.weekly("postgresql")
def test_logs_of_ended_jobs_go(running: RunningServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"a model")
    client.register("spx", tmp_path / "model.bin")
    client.request_retraining("spx")
    job = client.lease_job(holder="ann")
    version = client.register("spx", tmp_path / "model.bin", job=job)
    client.complete_job(job, version, log="epoch 1")
    log = hashlib.sha256(b"epoch 1").hexdigest()
    blob = running.app.blobs.path(log)
    assert set(sweep(running, 1).values()) == {0}
    assert blob.exists()
    assert sweep(running, 3)["logs"] == 1
    assert not blob.exists()


def test_files_that_nobody_registered_go_and_others_stay(
    running: RunningServer, client: Client, raw: LifecycleServiceStub, tmp_path: Path
) -> None:
    contents = {name: name.encode() * 1000 for name in ("registered", "wanted", "unused")}
    for name, content in contents.items():
        upload(raw, content)
        (tmp_path / name).write_bytes(content)
    client.register("spx", tmp_path / "registered", reference={"x": np.arange(50.0)})
    paths = {name: running.app.blobs.path(hashlib.sha256(content).hexdigest()) for name, content in contents.items()}
    assert sweep(running, 1)["blobs"] == 0
    running.app.blobs.touch(paths["wanted"].name)
    for name in ("registered", "unused"):
        age(paths[name], days=3)
    assert sweep(running, 0)["blobs"] == 1
    assert {name: path.exists() for name, path in paths.items()} == {
        "registered": True,
        "wanted": True,
        "unused": False,
    }
    assert client.detect_drift("spx/1", {"x": np.arange(20.0)})  # The reference is there.


def test_question_whether_a_file_is_there_keeps_it(running: RunningServer, raw: LifecycleServiceStub) -> None:
    upload(raw, b"asked for" * 99)
    path = running.app.blobs.path(hashlib.sha256(b"asked for" * 99).hexdigest())
    age(path, days=3)
    header = pb.BlobHeader(sha256=path.name, size_bytes=9 * 99)
    [found] = raw.UploadBlobs(iter([pb.UploadBlobsRequest(header=header)])).blobs
    assert found.complete
    assert sweep(running, 0)["blobs"] == 0


@pytest.mark.weekly("postgresql")
def test_periods_of_engines_go_when_they_are_old_and_those_that_run_stay(
    running: RunningServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    versions = [client.register("spx", tmp_path / "model.bin") for _ in range(2)]
    for version in versions:
        client.report_active(version, engine="runs", silent_after=timedelta(days=9))
    client.report_active(versions[0], engine="gone")
    assert sweep(running, 1)["engines"] == 0
    assert sweep(running, 3)["engines"] == 2  # The one that is gone has another lifetime, here the same.
    [period] = client.list_engine_periods("spx")
    assert (period.engine, period.version) == ("runs", versions[1].ref)
    assert [status.engine for status in client.get_rollout("spx").engines] == ["runs"]


@pytest.mark.weekly("postgresql")
def test_records_of_scores_go_when_they_are_old(running: RunningServer, client: Client) -> None:
    version = client.register("spx", "README.md")
    now = datetime.now(UTC)
    old = ScoreRecord("old", now, "ann", True, version.ref, "", version.stage, "Score", 1, "", "")
    with running.app.ledger.writing() as session:
        record_scores(session, [old, replace(old, request_id="new", scored_at=now + timedelta(days=2))])
    assert sweep(running, 1)["scores"] == 0
    assert sweep(running, 3)["scores"] == 1
    assert [record.request_id for record in client.list_scores("spx")] == ["new"]


def test_lifetimes_and_what_was_swept_are_metrics(running: RunningServer) -> None:
    with urlopen(f"http://127.0.0.1:{running.app.metrics_port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        lines = answer.read().decode().splitlines()
    assert 'modelward_retention_seconds{kind="answers"} 2.592e+06' in lines
    assert 'modelward_retention_swept_total{kind="blobs"} 0.0' in lines


def upload(raw: LifecycleServiceStub, content: bytes) -> None:
    header = pb.BlobHeader(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    parts = [pb.UploadBlobsRequest(header=header), pb.UploadBlobsRequest(chunk=content)]
    raw.UploadBlobs(iter(parts), timeout=PATIENCE_SECONDS)


def age(path: Path, days: float) -> None:
    then = path.stat().st_mtime - days * 86_400
    os.utime(path, (then, then))

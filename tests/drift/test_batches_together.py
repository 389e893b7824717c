"""Several batches of live rows in one message: each counts as if it came by itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modelward import AsyncClient, Client
from modelward._coerce import as_ref
from modelward.data import to_dataset
from modelward.shared.convert.common import ref_to_proto
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward_server.statistics.sequential_detector import Detector
from tests.support.clients import collect
from tests.support.forked_server import ForkedServer
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds, and starts servers.

TRAINING = {"ret": np.random.default_rng(5).normal(size=400)}
ROWS = np.random.default_rng(6).normal(size=200)
START = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> str:
    (tmp_path / "model.bin").write_bytes(b"weights")
    return str(await client.register(name, tmp_path / "model.bin", reference=TRAINING))


def together(first: int, *sizes: int, column: str = "ret", **kwargs: Any) -> pb.ObserveRequest:
    """Return batches that continue those before them, of 7 rows each."""
    start = 7 * (first - 1)
    data = kwargs.pop("data", None) or to_dataset({column: ROWS[start : start + sum(sizes)]})
    return pb.ObserveRequest(batches=pb.ObserveBatches(first_number=first, data=data, rows=sizes, **kwargs))


def alone(number: int) -> pb.ObserveRequest:
    data = to_dataset({"ret": ROWS[7 * (number - 1) : 7 * number]})
    return pb.ObserveRequest(batch=pb.ObserveBatch(number=number, data=data))


def talk(target: str, version: str, *parts: pb.ObserveRequest, **header: Any) -> list[pb.ObserveResponse]:
    opened = pb.ObserveHeader(version=ref_to_proto(as_ref(version)), **{"sender": "engine", "rows": 30, **header})
    with grpc.insecure_channel(target) as channel:
        stub: Any = DriftServiceStub(channel)
        return list(stub.Observe(iter([pb.ObserveRequest(header=opened), *parts]), timeout=PATIENCE_SECONDS))


def refusal(target: str, version: str, *parts: pb.ObserveRequest, **header: Any) -> str:
    with pytest.raises(grpc.RpcError) as refused:
        talk(target, version, *parts, **header)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(error.details())


def evidence(answers: list[pb.ObserveResponse]) -> tuple[int, float]:
    return answers[-1].acknowledged, round(answers[-1].sequential_evidence, 9)


async def test_they_are_what_single_batches_are(client: AsyncClient, server: RunningServer, version: str) -> None:
    await client.set_reference(version, TRAINING, name="same")
    singly = talk(server.target, version, *map(alone, range(1, 13)))
    jointly = talk(server.target, version, together(1, *[7] * 5), together(6, *[7] * 7), reference="same")
    assert evidence(jointly) == evidence(singly)
    assert evidence(jointly)[0] == 12
    reports = await collect(client.list_drift_reports(version.partition("/")[0]))
    assert [report.rows for report in reports] == [30] * 4
    assert [report.score for report in reports[:2]] == [report.score for report in reports[2:]]


async def test_each_message_has_one_answer(server: RunningServer, version: str) -> None:
    answers = talk(server.target, version, together(1, 7, 7), alone(3))
    assert [answer.acknowledged for answer in answers][0::2] == [0, 3]
    assert len(answers) == 3


async def test_batches_that_come_again_in_another_grouping_are_taken_once(
    client: AsyncClient, server: RunningServer, version: str
) -> None:
    talk(server.target, version, alone(1), together(2, 7, 7), rows=1_000)
    answers = talk(server.target, version, together(1, *[7] * 5), together(4, 7, 7, 7), alone(2), rows=1_000)
    assert answers[-1].acknowledged == 6
    (closed,) = [one.report for one in talk(server.target, version, alone(7), rows=49) if one.HasField("report")]
    assert closed.rows == 49


async def test_times_of_batches_decide_their_windows_and_their_label(
    client: AsyncClient, server: RunningServer, version: str
) -> None:
    request = together(1, 7, 7, 7, 7)
    for minutes in (0, 1, 4, 6):
        request.batches.seen_at.add().FromDatetime(START + timedelta(minutes=minutes))
    header = {"rows": None, "span": timedelta(minutes=5)}
    (closed,) = [one.report for one in talk(server.target, version, request, **header) if one.HasField("report")]
    assert closed.rows == 21
    assert closed.label == "engine, 2026-03-02 14:30 to 14:34"


async def test_a_bad_batch_fails_alone_and_is_told_with_its_number(server: RunningServer, version: str) -> None:
    header = {"time_column": "at"}
    data = to_dataset({"ret": ROWS[:8], "at": np.array([1, 2, 3, 4, 5, 5, 7, 8])})
    said = refusal(server.target, version, together(1, 2, 2, 2, 2, data=data), **header)
    assert said.startswith("batch 3: time_column: 'at' has 5 in rows 0 and 1")
    assert talk(server.target, version, **header)[-1].acknowledged == 2


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (together(1, 7, 7, data=to_dataset({"ret": ROWS[:13]})), "batches.rows: add up to 14, but the table has 13"),
        (together(1, 7, 7, column="other"), "batch 1: batches.data: lacks the feature 'ret'"),
        (together(3, 7, 7), "batches.first_number: is 3, but 1 comes next"),
        (together(1, 7, 7, seen_at=[START]), "batches.seen_at: has 1 times for 2 batches"),
        (together(0, 7), "batches.first_number: must be greater than 0"),
        (together(1, data=to_dataset({"ret": ROWS})), "batches.rows: must contain at least 1 item"),
        (together(1, 7, 0), "batches.rows[1]: must be greater than or equal to 1"),
        (together(1, *[1] * 257, data=to_dataset({"ret": ROWS})), "batches.rows: must contain no more than 256 item"),
    ],
)
async def test_a_wrong_message_names_the_field(
    request_: pb.ObserveRequest, said: str, server: RunningServer, version: str
) -> None:
    assert said in refusal(server.target, version, request_)
    assert talk(server.target, version)[-1].acknowledged == 0


def test_what_was_acknowledged_together_survives_a_kill_and_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    server = ForkedServer(tmp_path / "data", tmp_path / "first.log")
    with Client(server.target, timeout=PATIENCE_SECONDS) as client:
        version = str(client.register("spx", tmp_path / "model.bin", reference=TRAINING))
    assert talk(server.target, version, together(1, 7, 7, 7))[-1].acknowledged == 3
    server.kill()
    server = ForkedServer(tmp_path / "data", tmp_path / "second.log")
    assert talk(server.target, version)[-1].acknowledged == 3
    answers = talk(server.target, version, together(3, 7, 7), together(1, 7, 7), alone(5))
    assert [answer.report.rows for answer in answers if answer.HasField("report")] == [30]
    assert answers[-1].acknowledged == 5
    server.stop()


def test_the_detector_counts_rows_as_one_after_the_other() -> None:
    """However batches are put together, and beyond the rows of a block."""
    random = np.random.default_rng(7)
    reference, places = random.integers(1, 9, (3, 64)), random.random((150, 3)).astype(np.float32)
    batches = [(places[:70], 1), (places[70:71], 2), (places[71:], 3)]
    jointly, singly = Detector(reference), Detector(reference)
    jointly.update(batches)
    for batch in batches:
        singly.update([batch])
    assert (jointly.counts == singly.counts).all()
    assert jointly.counts.sum() == reference.sum() + 3 * 150
    np.testing.assert_allclose(jointly.capital, singly.capital, rtol=1e-9)
    assert jointly.peak == pytest.approx(singly.peak)

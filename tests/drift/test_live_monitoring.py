"""Live data in batches: windows, alarms, what survives, through real servers."""

import asyncio
import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest

from modelward import AsyncClient, Client, PromotionPolicy
from modelward._coerce import as_ref
from modelward.data import to_dataset
from modelward.errors import GatesFailed, InvalidField, ReferenceNotFound
from modelward.lifecycle import DriftAlarm, EventKind
from modelward.shared.convert.common import ref_to_proto
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward_server.statistics.sequential_detector import Detector, from_bytes, to_bytes
from tests.support.clients import collect
from tests.support.forked_server import ForkedServer
from tests.support.postgres import new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS
from tests.system.conftest import serve  # noqa: F401 - the fixture

pytestmark = pytest.mark.system  # Takes seconds.

random = np.random.default_rng(21)
TRAINING = {"ret": random.normal(size=500), "venue": random.choice(["X", "Y"], 500).astype(object)}
START = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test draw the same rows, whichever ran before it."""
    monkeypatch.setitem(globals(), "random", np.random.default_rng(22))


def calm(rows: int) -> dict[str, Any]:
    return {"ret": random.normal(size=rows), "venue": random.choice(["X", "Y"], rows).astype(object)}


def crisis(rows: int) -> dict[str, Any]:
    return calm(rows) | {"ret": random.normal(4.0, 3.0, size=rows)}


class Observing:
    """An observer of either client: what it returns is awaited."""

    def __init__(self, observer: Any) -> None:
        self.observer = observer

    async def add(self, data: Any, **kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(self.observer.add):
            return await self.observer.add(data, **kwargs)
        return await asyncio.to_thread(lambda: self.observer.add(data, **kwargs))


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Any) -> str:
    (tmp_path / "model.bin").write_bytes(b"weights")
    return str(await client.register(name, tmp_path / "model.bin", reference=TRAINING))


async def _observe(client: AsyncClient, version: str, **kwargs: Any) -> Observing:
    return Observing(await client.observe(version, **{"sender": "engine-1", "rows": 100, **kwargs}))


@pytest.mark.weekly("postgresql")
async def test_windows_close_by_rows_also_within_a_batch(client: AsyncClient, version: str) -> None:
    observer = await _observe(client, version)
    first = await observer.add(calm(60))
    assert (first.acknowledged, first.reports, first.alarm) == (1, (), False)
    second = await observer.add(calm(250))
    assert [report.rows for report in second.reports] == [100, 100, 100]
    third = await observer.add(calm(90))
    assert [report.rows for report in third.reports] == [100]
    assert third.acknowledged == 3
    kept = await collect(client.list_drift_reports(version.partition("/")[0]))
    assert len(kept) == 4
    assert "engine-1" in kept[0].label


@pytest.mark.parametrize("first", [[True, False], ["true", "false"]], ids=["booleans", "text"])
async def test_batches_of_a_window_may_hold_booleans_and_their_text(
    client: AsyncClient, name: str, tmp_path: Any, first: list[Any]
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    reference = {"up": [True, False] * 100, "x": np.arange(200.0)}
    version = str(await client.register(name, tmp_path / "model.bin", reference=reference))
    observer, other = (
        await _observe(client, version, rows=40),
        [True, False] if first[0] == "true" else ["true", "false"],
    )
    await observer.add({"up": first * 10, "x": np.arange(20.0)})
    [report] = (await observer.add({"up": other * 10, "x": np.arange(20.0)})).reports
    up = next(feature for feature in report.features if feature.name == "up")
    assert (up.ks, up.new_categories, report.rows) == (0.0, (), 40)


async def test_windows_close_by_time(client: AsyncClient, version: str) -> None:
    observer = await _observe(client, version, rows=0, span=timedelta(minutes=5))
    assert not (await observer.add(calm(30), seen_at=START)).reports
    assert not (await observer.add(calm(30), seen_at=START + timedelta(minutes=4))).reports
    closed = await observer.add(calm(10), seen_at=START + timedelta(minutes=5))
    assert [report.rows for report in closed.reports] == [60]
    late = await observer.add(calm(10), seen_at=START)
    assert not late.reports
    again = await observer.add(calm(1), seen_at=START + timedelta(hours=1))
    assert [report.rows for report in again.reports] == [20]


@pytest.mark.weekly("postgresql")
async def test_alarm_waits_for_two_windows_of_three_and_ends_after_three_without(
    client: AsyncClient, version: str
) -> None:
    observer = await _observe(client, version)
    assert not (await observer.add(crisis(100))).alarm
    assert not (await observer.add(calm(100))).alarm
    raised = await observer.add(crisis(100))
    assert raised.alarm
    assert not (await observer.add(crisis(100))).alarm  # It stands already.
    for _ in range(3):
        assert not (await observer.add(calm(100))).alarm
    assert not (await observer.add(crisis(100))).alarm
    assert (await observer.add(crisis(100))).alarm


async def test_alarm_is_an_event_and_stops_promotion_and_asks_for_retraining(
    client: AsyncClient, server: RunningServer, version: str
) -> None:
    model = version.partition("/")[0]
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")
    await client.create_schedule(model, drift=True)
    with Client(server.target) as watcher:
        events = watcher.watch([model])
        assert next(events).kind is EventKind.STATE
        observer = await _observe(client, version, alarm_after=1, alarm_of=1)
        raised = await observer.add(crisis(100))
        assert raised.alarm
        alarm = next(event for event in events if event.kind is EventKind.DRIFT_ALARM).subject
    assert isinstance(alarm, DriftAlarm)
    assert alarm.report_id == raised.reports[0].report_id
    assert [due.model for due in await collect(client.list_due(model))] == [model]
    await client.set_promotion_policy(PromotionPolicy(model, forbid_drift_alarm=True))
    await client.promote(version, to="archived")
    await client.promote(version, to="staging")
    with pytest.raises(GatesFailed, match="drift"):
        await client.promote(version, to="production", reason="it passed its tests")
    assert (await client.verify_audit_log()).intact


async def test_one_window_with_drift_is_no_alarm_yet(client: AsyncClient, version: str) -> None:
    await client.set_promotion_policy(PromotionPolicy(version.partition("/")[0], forbid_drift_alarm=True))
    observer = await _observe(client, version)
    assert (await observer.add(crisis(100))).reports[0].drift_detected
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")


async def test_each_sender_has_windows_of_its_own(client: AsyncClient, version: str) -> None:
    one, other = await _observe(client, version), await _observe(client, version, sender="engine-2")
    assert not (await one.add(calm(60))).reports
    assert not (await other.add(calm(60))).reports
    assert (await one.add(calm(60))).reports[0].rows == 100


async def test_observer_goes_on_where_it_was(client: AsyncClient, version: str) -> None:
    await (await _observe(client, version)).add(calm(60))
    again = await _observe(client, version)
    assert again.observer.acknowledged == 1
    assert (await again.add(calm(40))).reports[0].rows == 100


def _talk(target: str, version: str, *numbers: int) -> list[pb.ObserveResponse]:
    model, _, number = version.partition("/")
    header = pb.ObserveHeader(sender="by hand", rows=100)
    header.version.model, header.version.version = model, int(number)
    parts = [pb.ObserveRequest(header=header)]
    parts += [pb.ObserveRequest(batch=pb.ObserveBatch(number=n, data=to_dataset(calm(60)))) for n in numbers]
    with grpc.insecure_channel(target) as channel:
        stub: Any = DriftServiceStub(channel)
        return list(stub.Observe(iter(parts), timeout=PATIENCE_SECONDS))


async def test_batch_that_comes_again_is_taken_once(client: AsyncClient, server: RunningServer, version: str) -> None:
    assert [answer.acknowledged for answer in _talk(server.target, version, 1, 1, 1)] == [0, 1, 1, 1]
    assert [answer.HasField("report") for answer in _talk(server.target, version, 1, 2)] == [False, False, True]


async def test_rows_that_were_read_under_a_replaced_reference_are_refused(
    client: AsyncClient, server: RunningServer, version: str
) -> None:
    header = pb.ObserveHeader(version=ref_to_proto(as_ref(version)), sender="by hand", rows=100)
    parts: SimpleQueue[pb.ObserveRequest | None] = SimpleQueue()
    parts.put(pb.ObserveRequest(header=header))
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = DriftServiceStub(channel)
        call = stub.Observe(iter(parts.get, None), timeout=PATIENCE_SECONDS)
        assert (await asyncio.to_thread(next, call)).acknowledged == 0
        await client.set_reference(version, {"ret": np.round(TRAINING["ret"]).astype(str), "venue": TRAINING["venue"]})
        parts.put(pb.ObserveRequest(batch=pb.ObserveBatch(number=1, data=to_dataset(calm(60)))))
        with pytest.raises(grpc.RpcError, match="the reference was replaced") as refused:
            await asyncio.to_thread(next, call)
        parts.put(None)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.ABORTED
    observer = await _observe(client, version, sender="by hand")
    assert (await observer.add(calm(60) | {"ret": np.repeat("0.0", 60)})).acknowledged == 1


async def test_gap_between_batches_is_refused(client: AsyncClient, server: RunningServer, version: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        _talk(server.target, version, 1, 3)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "batch.number: is 3, but 2 comes next" in error.details()
    assert [answer.acknowledged for answer in _talk(server.target, version)] == [1]


async def test_bad_input_names_the_field(client: AsyncClient, version: str) -> None:
    with pytest.raises(InvalidField, match="rows"):
        await client.observe(version, sender="e")
    with pytest.raises(InvalidField, match="alarm_after"):
        await client.observe(version, sender="e", rows=10, alarm_after=4, alarm_of=3)
    with pytest.raises(InvalidField, match="sender"):
        await client.observe(version, sender="", rows=10)
    with pytest.raises(ReferenceNotFound):
        await client.observe(version, sender="e", rows=10, reference="crisis")
    observer = await _observe(client, version)
    with pytest.raises(InvalidField, match="lacks the feature 'venue'"):
        await observer.add({"ret": [0.1]})
    assert (await observer.add(calm(1))).acknowledged == 1


@pytest.mark.system
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.weekly("postgresql")
def test_what_was_acknowledged_survives_a_kill(
    kind: str,
    serve: Callable[..., ForkedServer],  # noqa: F811
    request: pytest.FixtureRequest,
    tmp_path: Any,
) -> None:
    flags = [] if kind == "sqlite" else ["--database-url", new_database(request.getfixturevalue("postgres"))]
    served = serve(*flags)
    (tmp_path / "model.bin").write_bytes(b"weights")
    with Client(served.target) as client:
        version = client.register(f"m-{uuid4().hex[:8]}", tmp_path / "model.bin", reference=TRAINING)
        observer = client.observe(version, sender="engine-1", rows=100)
        observer.add(calm(30))
        assert observer.add(calm(50)).acknowledged == 2
    served.kill()
    with Client(serve(*flags).target) as client:
        observer = client.observe(version, sender="engine-1", rows=100)
        assert observer.acknowledged == 2
        closed = observer.add(calm(20))
        assert [report.rows for report in closed.reports] == [100]


def _watched(reference: Any, normalized_ranks: Any) -> float:
    detector = Detector(reference)
    for number, part in enumerate(np.array_split(normalized_ranks, 4)):
        detector.update([(part, number)])
        detector = from_bytes(to_bytes(detector))
    return detector.evidence


@pytest.mark.system  # Takes seconds.
def test_detector_keeps_its_promise_on_exchangeable_rows() -> None:
    runs, alarms = 100, 0
    for seed in range(runs):
        own = np.random.default_rng(seed)
        values, live = own.normal(size=300), own.normal(size=(200, 1))
        normalized_ranks = np.searchsorted(np.sort(values), live) / 300
        cells = np.bincount((np.arange(300) / 300 * 64).astype(int), minlength=64)[None]
        alarms += _watched(cells, normalized_ranks) >= 0.9
    assert alarms <= 21  # A rate of 10 %, which is Ville's bound, gives more in one of a thousand runs.


@pytest.mark.parametrize("change", ["level", "spread"])
def test_detector_sees_a_change(change: str) -> None:
    own = np.random.default_rng(5)
    live = own.normal(1.0, 1.0, (200, 1)) if change == "level" else own.normal(0.0, 2.5, (200, 1))
    normalized_ranks = np.searchsorted(np.sort(own.normal(size=1000)), live) / 1000
    assert _watched(np.full((1, 64), 1000 // 64), normalized_ranks) > 0.999

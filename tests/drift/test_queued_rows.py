"""Live data that are queued in the client: in order, once, and as if each `add` had waited."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from modelward import AsyncClient, Client
from modelward._async.observe_queue import PAUSE_SECONDS
from modelward._observed_batches import QueuedBatch, to_requests
from modelward.data import INLINE_BYTES
from modelward.drift import DriftReport, Observed
from modelward.errors import DeadlineExceeded, InvalidField, ReferenceNotFound, Unavailable
from modelward.v1 import drift_pb2 as pb
from modelward_server.rpc import read_ahead
from modelward_server.rpc.read_ahead import ReadAhead
from tests.support.flaky_proxy import FlakyProxy
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Takes seconds, and starts servers.

TRAINING = {"ret": np.random.default_rng(3).normal(size=400)}


def batches(number: int, rows: int = 7) -> list[dict[str, Any]]:
    random = np.random.default_rng(4)
    return [{"ret": random.normal(size=rows)} for _ in range(number)]


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> str:
    (tmp_path / "model.bin").write_bytes(b"weights")
    return str(await client.register(name, tmp_path / "model.bin", reference=TRAINING))


class Observing:
    """An observer of either client: what it returns is awaited."""

    def __init__(self, observer: Any) -> None:
        self._observer = observer

    async def add(self, data: Any) -> Observed:
        told: Observed = await self._awaited("add", data)
        return told

    async def flush(self) -> Observed:
        told: Observed = await self._awaited("flush")
        return told

    async def _awaited(self, method: str, *args: Any) -> Any:
        bound = getattr(self._observer, method)
        return await bound(*args) if inspect.iscoroutinefunction(bound) else await asyncio.to_thread(bound, *args)


async def observe(client: AsyncClient, version: str, sender: str, unacknowledged: int) -> Observing:
    return Observing(await client.observe(version, sender=sender, rows=50, unacknowledged=unacknowledged))


def figures(reports: list[DriftReport]) -> list[tuple[float, int]]:
    return [(report.score, report.rows) for report in reports]


async def refused(call: Callable[[], Awaitable[object]]) -> list[str]:
    """Make a call until it is not refused, and return the refusals."""
    try:
        await call()
    except InvalidField as error:
        return [str(error), *await refused(call)]
    return []


@pytest.mark.weekly
async def test_reports_are_those_of_adds_that_wait(client: AsyncClient, version: str) -> None:
    waiting, queued = await observe(client, version, "one", 0), await observe(client, version, "two", 8)
    expected = [await waiting.add(batch) for batch in batches(40)]
    answers = [*[await queued.add(batch) for batch in batches(40)], await queued.flush()]
    reports, theirs = ([report for one in seen for report in one.reports] for seen in (answers, expected))
    assert figures(reports) == figures(theirs)
    assert len(reports) == 5
    assert any(one.alarm for one in answers) == any(one.alarm for one in expected)
    assert answers[-1].acknowledged == 40
    assert await queued.flush() == Observed(40, (), False, answers[-1].sequential_evidence, 0)


async def test_a_batch_that_is_refused_is_left_out_and_told_and_the_others_are_stored(
    client: AsyncClient, version: str
) -> None:
    queued = await observe(client, version, "engine", 64)
    good, refusals = batches(9), []
    bad: list[dict[str, Any]] = [{"other": np.ones(7)}, {"ret": np.array(["text"] * 7, object)}]
    for batch in [*good[:3], bad[0], *good[3:6], bad[1], *good[6:]]:
        refusals += await refused(partial(queued.add, batch))
    refusals += await refused(queued.flush)
    assert ["other" in refusals[0], "ret" in refusals[1], len(refusals)] == [True, True, 2]
    assert (await queued.flush()).acknowledged == 9
    again = await client.observe(version, sender="engine", rows=50)
    assert again.acknowledged == 9


async def test_rows_are_those_that_were_added_whatever_the_caller_does_with_its_arrays(
    client: AsyncClient, version: str
) -> None:
    queued, waiting = await observe(client, version, "queued", 64), await observe(client, version, "waiting", 0)
    reused, seen = {"ret": np.empty(7)}, []
    for batch in batches(20):
        reused["ret"][:] = batch["ret"]
        seen.append(await queued.add(reused))
        await waiting.add(batch)
    reused["ret"][:] = np.nan
    reports = await queued.flush()
    assert reports.acknowledged == 20
    kept = [report async for report in client.list_drift_reports(version.partition("/")[0])]
    queued_scores, scores = ([one.score for one in kept if one.label.startswith(who)] for who in ("queued", "waiting"))
    assert queued_scores == scores
    assert len(scores) == 2


def test_batches_of_the_same_columns_share_a_message() -> None:
    at = Timestamp()
    numbers, text = {"a": np.ones(2)}, {"a": np.array(["x", None], object)}
    truths, large = {"a": np.array([True, None], object)}, {"a": np.ones(INLINE_BYTES // 8)}
    tables = [*[numbers] * 300, text, text, truths, numbers, large, large]
    sent = list(to_requests([QueuedBatch(pb.ObserveHeader(), table, at) for table in tables], 5))
    assert [one.batches.first_number or one.batch.number for one in sent] == [5, 261, 305, 307, 308, 309, 310]
    assert [len(one.batches.rows) for one in sent] == [256, 44, 2, 0, 0, 0, 0]


async def test_a_reference_that_is_not_there_ends_the_sending_and_leaves_nothing_out(
    client: AsyncClient, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued = await observe(client, version, "engine", 64)
    header: pb.ObserveHeader = queued._observer._header
    header.reference = "missing"
    await queued.add(batches(1)[0])
    with pytest.raises(ReferenceNotFound):
        await queued.flush()
    assert len(queued._observer._queue._waiting) == 1


@pytest.mark.weekly
def test_nothing_is_lost_or_doubled_when_the_server_dies(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    server = ForkedServer(tmp_path / "data", tmp_path / "first.log")
    with closing(FlakyProxy(server.target)) as proxy, Client(proxy.address, timeout=PATIENCE_SECONDS) as client:
        version = client.register("spx", tmp_path / "model.bin", reference=TRAINING)
        observer = client.observe(version, sender="engine", rows=50, unacknowledged=1_000)
        seen: list[Observed] = []
        for number, batch in enumerate(batches(300)):
            seen.append(observer.add(batch))
            if number == 100:
                eventually(lambda: observer.acknowledged > 0)
                server.kill()
            if number == 200:
                server = ForkedServer(tmp_path / "data", tmp_path / "second.log")
                proxy.target = server.target
        seen.append(observer.flush(timeout=PATIENCE_SECONDS))
        kept = list(client.list_drift_reports("spx"))
    server.stop()
    assert seen[-1].acknowledged == 300
    assert [report.rows for report in kept] == [50] * (300 * 7 // 50)


def test_a_full_queue_waits_and_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    server = ForkedServer(tmp_path / "data", tmp_path / "first.log")
    with closing(FlakyProxy(server.target)) as proxy, Client(proxy.address, timeout=PATIENCE_SECONDS) as client:
        version = client.register("spx", tmp_path / "model.bin", reference=TRAINING)
        observer = client.observe(version, sender="engine", rows=50, unacknowledged=2)
        server.kill()
        given_up = 0
        for batch in batches(4):
            try:
                observer.add(batch, timeout=2 * PAUSE_SECONDS)
            except (DeadlineExceeded, Unavailable):
                given_up += 1
        assert given_up == 2
        server = ForkedServer(tmp_path / "data", tmp_path / "second.log")
        proxy.target = server.target
        assert observer.flush(timeout=PATIENCE_SECONDS).acknowledged == 2
    server.stop()


async def test_fewer_than_none_is_refused(client: AsyncClient, version: str) -> None:
    with pytest.raises(InvalidField, match="unacknowledged"):
        await client.observe(version, sender="engine", rows=50, unacknowledged=-1)


@given(sizes=st.lists(st.integers(0, 90), max_size=40), breaks=st.booleans(), pause=st.sampled_from([0, 1, 3]))
async def test_messages_that_are_read_ahead_come_in_order_and_bounded(
    sizes: list[int], breaks: bool, pause: int
) -> None:
    async def stream() -> AsyncIterator[pb.ObserveHeader]:
        for number, size in enumerate(sizes):
            for _ in range(pause):
                await asyncio.sleep(0)
            yield pb.ObserveHeader(sender=f"{number:04}" + "x" * size)
        if breaks:
            raise ConnectionError

    most, read_ahead.MAX_BYTES = read_ahead.MAX_BYTES, 200
    taken: list[str] = []
    try:
        async with ReadAhead(stream()) as parts:
            async for group in parts.groups():
                assert len(group) == 1 or sum(part.ByteSize() for part in group) <= 200
                taken += [part.sender for part in group]
                await asyncio.sleep(0)
        assert not breaks
    except ConnectionError:
        assert breaks
    finally:
        read_ahead.MAX_BYTES = most
    assert [int(sender[:4]) for sender in taken] == list(range(len(sizes)))

"""Comparisons on rows that live monitoring saw, with labels that came later; on each database, with both clients."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sqlalchemy import func, select

from modelward import AsyncClient, Client, ClosureSessions, Comparison
from modelward.errors import InvalidField, ModelwardError, NothingToReplay, VersionNotFound
from modelward.replay import Replay
from modelward.shared.convert.common import ref_to_proto
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from modelward_server.drift import live_monitoring
from modelward_server.settings import Settings
from modelward_server.storage.monitoring_tables import ObservedRowsRow, ReplayRowsRow
from modelward_server.storage.retention import Retention
from tests.cli.conftest import Commands
from tests.support.clients import as_async
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer

pytestmark = [pytest.mark.system, pytest.mark.weekly("postgresql")]  # Runs models in processes.

RNG = np.random.default_rng(4)
DAYS = pd.date_range("2026-01-05", periods=120)
SPAN = timedelta(days=30)


def market(rows: int) -> pd.DataFrame:
    return pd.DataFrame(RNG.normal(size=(rows, 2)), columns=["a", "b"])


TRAIN, LIVE = market(300), market(120)
LABELS = (LIVE.a + 0.1 * RNG.normal(size=len(LIVE))).to_numpy()
IDS = [f"order-{number}" for number in range(len(LIVE))]


@pytest.fixture(scope="module", params=DATABASES)
def keeping(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    url = "" if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))
    folder = tmp_path_factory.mktemp("data")
    running = RunningServer(Settings(port=0, data_dir=folder, database_url=url, keep_rows_days=90, scoring_processes=4))
    yield running
    running.stop()


@pytest.fixture(params=["sync", "async"])
async def quant(request: pytest.FixtureRequest, keeping: RunningServer) -> AsyncIterator[AsyncClient]:
    if request.param == "async":
        async with AsyncClient(keeping.target, actor="tester") as client:
            yield as_async(client)
    else:
        with Client(keeping.target, actor="tester") as client:
            yield as_async(client)


async def registered(client: AsyncClient, name: str, **reference: Any) -> list[str]:
    """Register two versions, one that predicts the label and one that does not, and return their names."""
    models = [LinearRegression().fit(TRAIN, TRAIN[column]) for column in ("b", "a")]
    versions = [str(await client.register(name, model)) for model in models]
    for version in versions:
        table = TRAIN.assign(**{key: value for key, value in reference.items() if key not in {"time", "regime"}})
        named = {key: value for key, value in reference.items() if key in {"time", "regime"}}
        await client.set_reference(version, table, **named)
    return versions


async def observed(client: AsyncClient, version: str, rows: pd.DataFrame, **kwargs: Any) -> Any:
    given = {"sender": "engine-1", "rows": 50, "id": "order", **kwargs}
    observer: Any = await client.observe(version, **given)
    return observer


async def add(observer: Any, *args: Any, **kwargs: Any) -> Any:
    found = await asyncio.to_thread(lambda: observer.add(*args, **kwargs))
    return await found if asyncio.iscoroutine(found) else found


def facts(found: Comparison) -> Any:
    """Return what a comparison says, without what differs between any two."""
    results = tuple(replace(result, latency=None) for result in found.results)
    return found.rows, found.best, found.conclusion, found.resampling, results, found.window


async def test_kept_rows_with_labels_compare_as_the_same_rows_that_are_sent(
    quant: AsyncClient, keeping: RunningServer, name: str
) -> None:
    versions = await registered(quant, name)
    observer = await observed(quant, versions[0], LIVE)
    rows = LIVE.assign(order=IDS)
    await add(observer, rows.iloc[:70])
    await add(observer, rows.iloc[70:])  # The last 20 rows are in a window that is open.
    await add(observer, rows.iloc[:10])  # Rows that are sent again count once.
    await quant.record_outcomes(versions[0], IDS[:110], labels=LABELS[:110])
    found = await quant.compare(versions, replay=SPAN)
    sent = await quant.compare(versions, LIVE[:110], LABELS[:110])
    assert facts(found) == facts(sent)
    kept = found.replay
    assert kept is not None
    assert (kept.model, kept.version, kept.rows, kept.seen) == (name, 0, 110, 130)
    assert (kept.without_id, kept.without_label, kept.repeated) == (0, 10, 10)
    assert kept.until - kept.since == SPAN
    assert kept.since < kept.first_seen_at <= kept.last_seen_at < kept.until
    assert found.notes[0] == kept.summary
    assert "110 of 130 rows" in kept.summary
    assert sent.replay is None
    assert (await quant.get_comparison(found.comparison_id)).replay == kept
    assert all(stored(keeping, name)), "some rows are kept of compared windows, others are in the open one"


async def test_labels_that_come_later_count_in_the_next_replay_and_are_final(quant: AsyncClient, name: str) -> None:
    versions = await registered(quant, name)
    observer = await observed(quant, versions[0], LIVE)
    await add(observer, LIVE.assign(order=IDS))
    await quant.record_outcomes(versions[0], IDS[:60], labels=LABELS[:60])
    first = await quant.compare(versions, replay=SPAN)
    await quant.record_outcomes(versions[0], IDS[60:110], labels=LABELS[60:110])
    with pytest.raises(InvalidField, match="'order-3' was recorded with"):
        await quant.record_outcomes(versions[0], ["order-3", "order-115"], labels=[9.0, 1.0])
    later = await quant.compare(versions, replay=SPAN)
    assert (first.rows, later.rows) == (60, 110), "of the refused outcomes none is recorded"
    assert facts(later) == facts(await quant.compare(versions, LIVE[:110], LABELS[:110]))
    assert await quant.get_comparison(first.comparison_id) == first, "what was compared stays as it was"


async def test_ids_follow_their_rows_through_sorting_and_sessions(quant: AsyncClient, name: str) -> None:
    regime = ClosureSessions("XNYS", 3, 1, 3)
    versions = await registered(quant, name, day=pd.bdate_range("2022-01-03", periods=300), time="day", regime=regime)
    observer = await observed(quant, versions[0], LIVE)
    days = pd.bdate_range("2024-01-02", periods=130)
    days = days[~days.isin(pd.to_datetime(["2024-01-15", "2024-02-19", "2024-03-29", "2024-05-27", "2024-06-19"]))]
    days = days[:120]
    order = RNG.permutation(120)
    rows = LIVE.assign(day=days)
    await add(observer, rows.iloc[order], id=[IDS[row] for row in order])
    await quant.record_outcomes(versions[0], IDS, labels=LABELS)
    found = await quant.compare(versions, replay=SPAN)
    assert found.replay is not None
    assert 0 < found.rows == found.replay.seen < 120, "rows of other sessions are not kept"
    good = found.result(versions[1])
    assert good["mse"] == pytest.approx(0.01, rel=0.8), "each row has its own label"
    assert found.window is not None
    assert found.window.time_column == "day"


async def test_scored_rows_are_replayed_with_their_times_and_groups(
    quant: AsyncClient, keeping: RunningServer, name: str
) -> None:
    versions = [str(await quant.register(name, LinearRegression().fit(TRAIN, TRAIN[column]))) for column in ("b", "a")]
    panel = TRAIN.assign(day=np.repeat(np.arange(150.0), 2), stock=[1.0, 2.0] * 150)
    for version in versions:
        await quant.set_reference(version, panel, time="day", group="stock")
    await quant.promote(versions[0], to="staging")
    await quant.promote(versions[0], to="production", reason="it passed its tests")
    live = LIVE.assign(day=np.repeat(np.arange(60.0), 2), stock=[1.0, 2.0] * 60)
    [writer] = [one for one in keeping.app.scoring_records.writers if one.kind == "observations"]
    before, order = writer.lost, RNG.permutation(120)
    await quant.score(name, live.iloc[order], observe=True, ids=[f"{name}-{row}" for row in order])
    names = [f"{name}-{row}" for row in range(120)]
    while (await quant.record_outcomes(versions[0], names, labels=LABELS)).waiting:
        assert writer.lost == before
        await asyncio.sleep(0.1)
    found = await quant.compare(versions, replay=SPAN)
    assert found.rows == 120
    assert found.window is not None
    assert (found.window.times, found.window.groups) == (60, 2)
    assert facts(found) == facts(await quant.compare(versions, live, LABELS, time="day", group="stock"))


async def test_booleans_and_their_text_are_one_category_in_replayed_rows_as_in_windows(
    quant: AsyncClient, name: str
) -> None:
    """An engine sends booleans in one batch and text in the next: both are the categories of the reference."""
    half = TRAIN.assign(up=[True, False] * 150)
    encode = make_column_transformer((OneHotEncoder(), ["up"]), remainder="passthrough")
    text = half.assign(up=half.up.map({True: "true", False: "false"}))
    models = [make_pipeline(encode, LinearRegression()).fit(text, TRAIN[column]) for column in ("b", "a")]
    versions = [str(await quant.register(name, model, reference=half)) for model in models]
    observer = await observed(quant, versions[0], LIVE)
    flags = np.arange(120) % 2 == 0
    await add(observer, LIVE[:60].assign(up=flags[:60], order=IDS[:60]))
    await add(observer, LIVE[60:].assign(up=np.where(flags, "true", "false")[60:], order=IDS[60:]))
    await quant.record_outcomes(versions[0], IDS, labels=LABELS)
    found = await quant.compare(versions, replay=SPAN)
    assert (found.rows, [one.failure for one in found.results]) == (120, ["", ""])


async def test_what_cannot_be_replayed_is_refused_with_its_reason(quant: AsyncClient, name: str) -> None:
    versions = await registered(quant, name)
    other = await registered(quant, f"{name}-2")
    with pytest.raises(NothingToReplay, match="of 0 rows that were seen"):
        await quant.compare(versions, replay=SPAN)
    observer = await observed(quant, versions[0], LIVE, id="")
    await add(observer, LIVE[:20])
    await add(observer, LIVE[20:50], id=IDS[20:50])
    with pytest.raises(NothingToReplay, match="of 50 rows that were seen, 20 have no id and 30 no label") as refused:
        await quant.compare(versions, replay=Replay(SPAN, version=1))
    assert refused.value.metadata == {"model": name, "seen": "50", "without_id": "20", "without_label": "30"}
    with pytest.raises(VersionNotFound):
        await quant.compare(versions, replay=Replay(SPAN, version=9))
    with pytest.raises(InvalidField, match=r"replay\.model: is missing, but versions are of"):
        await quant.compare([versions[0], other[0]], replay=SPAN)
    with pytest.raises(InvalidField, match=r"replay\.model: is vix, but no compared version is of it"):
        await quant.compare(versions, replay=Replay(SPAN, "vix"))
    with pytest.raises(InvalidField, match=r"y: is given with replay"):
        await quant.compare(versions, y=LABELS, replay=SPAN)
    with pytest.raises(InvalidField, match=r"y: is missing; give the labels, or replay"):
        await quant.compare(versions)
    with pytest.raises(InvalidField, match=r"id: names 'a', a feature of reference 'default'"):
        await observed(quant, versions[0], LIVE, id="a")
    bad = [*IDS[:19], None]
    with pytest.raises(InvalidField, match="is missing; give every row its own id"):
        await add(observer, LIVE[:20], id=bad)


async def test_a_version_alone_and_columns_of_the_rows(quant: AsyncClient, name: str) -> None:
    versions = await registered(quant, name, pnl=TRAIN.a)
    rows = LIVE.assign(order=IDS, pnl=LIVE.a)
    for number, version in enumerate(versions):
        observer = await observed(quant, version, LIVE)
        part = slice(0, 60) if number == 0 else slice(60, 120)
        await add(observer, rows.iloc[part])
        await quant.record_outcomes(version, IDS[part], labels=LABELS[part])
    assert (await quant.compare(versions, replay=SPAN, returns="pnl")).rows == 120
    alone = await quant.compare(versions, replay=Replay(SPAN, version=2), returns="pnl", metrics=["sharpe", "mse"])
    assert alone.rows == 60
    sent: dict[Any, Any] = {versions[0]: pd.DataFrame({"id": IDS, "prediction": LABELS})}
    joined = await quant.compare([versions[1]], replay=SPAN, predictions=sent, returns="pnl")
    assert joined.result(versions[0])["mse"] == pytest.approx(0, abs=1e-12)


def test_without_its_setting_a_server_keeps_no_rows(tmp_path: Any, name: str) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path))
    try:
        with Client(running.target) as client, grpc.insecure_channel(running.target) as channel:
            versions = [client.register(name, LinearRegression().fit(TRAIN, TRAIN.a), reference=TRAIN) for _ in "12"]
            client.observe(versions[0], sender="engine-1", rows=50).add(LIVE[:100], id=IDS[:100])
            with running.app.ledger.reading() as session:
                assert not session.scalar(select(func.count()).select_from(ReplayRowsRow))
            with pytest.raises(NothingToReplay, match="MODELWARD_KEEP_ROWS_DAYS"):
                client.compare(versions, replay=SPAN)
            stub = ComparisonServiceStub(channel)
            request = pb.CompareModelsRequest(versions=[ref_to_proto(one.ref) for one in versions])
            with pytest.raises(grpc.RpcError, match="data: is missing"):
                list(stub.CompareModels(request))
            request.replay.since.FromTimedelta(SPAN)
            request.data.uri = "file:///nowhere"
            with pytest.raises(grpc.RpcError, match="replay: is given with data"):
                list(stub.CompareModels(request))
    finally:
        running.stop()


def test_rows_go_when_their_time_is_over_and_the_oldest_when_they_are_too_many(
    keeping: RunningServer, name: str
) -> None:
    def held() -> list[datetime]:
        with keeping.app.ledger.reading() as session:
            rows = select(ReplayRowsRow.seen_at).where(ReplayRowsRow.model == name).order_by(ReplayRowsRow.seen_at)
            return list(session.scalars(rows))

    def sweep(days: float, limit: int) -> None:
        lifetimes = keeping.app.retention.lifetimes
        at = datetime.now(UTC) + timedelta(days=days)
        for _ in Retention(keeping.app.ledger, keeping.app.blobs, lifetimes, limit, clock=lambda: at).steps():
            pass

    with Client(keeping.target) as client:
        version = client.register(name, LinearRegression().fit(TRAIN, TRAIN.a), reference=TRAIN)
        observer = client.observe(version, sender="engine-1", rows=10)
        times = [datetime.now(UTC).replace(microsecond=0) - timedelta(days=age) for age in (80, 60, 40, 20)]
        for at in times:
            observer.add(LIVE[:10], seen_at=at, id=IDS[:10])
    assert held() == times
    sweep(0, 1 << 30)
    assert held() == times
    sweep(20, 1 << 30)
    assert held() == times[1:]
    with keeping.app.ledger.reading() as session:
        sizes = list(session.scalars(select(ReplayRowsRow.size).where(ReplayRowsRow.model == name)))
    sweep(0, sum(sizes[1:]))
    assert held() == times[2:], "the oldest rows go first"


def stored(running: RunningServer, name: str) -> list[int]:
    """Return the number of stored tables of rows: those of windows that are not compared, and those that are kept."""
    with running.app.ledger.reading() as session:
        tables = (ObservedRowsRow, ReplayRowsRow)
        return [session.scalar(select(func.count()).where(table.model == name)) or 0 for table in tables]


def test_a_window_whose_report_cannot_be_stored_is_moved_once_and_later(
    keeping: RunningServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left")

    with Client(keeping.target, timeout=5) as client:
        version = client.register(name, LinearRegression().fit(TRAIN, TRAIN.a), reference=TRAIN)
        observer = client.observe(version, sender="engine-1", rows=20)
        with monkeypatch.context() as broken:
            broken.setattr(live_monitoring, "keep_report", fail)
            with pytest.raises(ModelwardError):
                observer.add(LIVE[:20], id=IDS[:20])
        assert stored(keeping, name) == [1, 0], "what was moved is rolled back"
        for _ in range(2):
            client.observe(version, sender="engine-1", rows=20)
        assert stored(keeping, name) == [0, 1]
        assert len(list(client.list_drift_reports(name))) == 1


def test_the_command_replays(keeping: RunningServer, name: str) -> None:
    commands = Commands(keeping.target)
    with Client(keeping.target) as client:
        versions = [
            client.register(name, LinearRegression().fit(TRAIN, TRAIN[column]), reference=TRAIN) for column in "ab"
        ]
        client.observe(versions[0], sender="engine-1", rows=50).add(LIVE, id=IDS)
        client.record_outcomes(versions[0], IDS, labels=LABELS)
        found = commands.json("compare", f"{name}/1", f"{name}/2", "--replay", "30d")
        assert (found["rows"], found["best"]["version"], found["replay"]["seen"]) == (120, 1, 120)
        page = client.render_comparison(found["comparison_id"], "html")
    assert b"replay of live rows since" in page
    assert "give --label" in commands.run("compare", f"{name}/1", f"{name}/2", "--replay", "30d", "--label", "a").output

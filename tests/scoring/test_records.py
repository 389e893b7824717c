"""What scoring records after its answers: exposures of A/B tests, live data and predictions; on each database."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

from modelward import AsyncClient, errors
from modelward.assignment import assign
from modelward_server.drift.replay_rows import seen_rows
from modelward_server.scoring.background_writer import BackgroundWriter
from tests.support.clients import collect
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.system, pytest.mark.weekly("postgresql")]  # Takes seconds.

RNG = np.random.default_rng(11)
ROWS = pd.DataFrame(RNG.normal(size=(400, 2)), columns=["a", "b"])
NUMBER = LinearRegression().fit(ROWS, ROWS.a)
OTHER = LinearRegression().fit(ROWS, ROWS.b)
SIGN = LogisticRegression().fit(ROWS, (ROWS.a > 0).astype(int))
WORD = LogisticRegression().fit(ROWS, np.where(ROWS.a > 0, "up", "down"))


@pytest.fixture(scope="module")
def scoring_settings(database_url: str) -> dict[str, object]:
    return {"database_url": database_url}


async def until(holds: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def registered(scorer: AsyncClient, *models: Any, reference: Any = ROWS) -> str:
    """Register versions of a new model, the first one in production, and return its name."""
    name = f"spx-{uuid4().hex[:8]}"
    versions = [await scorer.register(name, model, reference=reference) for model in models]
    await scorer.promote(versions[0], to="staging")
    await scorer.promote(versions[0], to="production", reason="it passed its tests")
    return name


async def test_a_test_chooses_the_version_of_a_unit_and_each_unit_is_exposed_once(scorer: AsyncClient) -> None:
    name = await registered(scorer, NUMBER, OTHER)
    arms = {"champion": f"{name}/1", "challenger": f"{name}/2"}
    test = await scorer.create_ab_test(name, arms, primary_metric="pnl_bps", coverage=0.8)
    units = [f"account-{number}" for number in range(30)]
    for unit in (*units, *units[:5]):
        found = await scorer.score(name, ROWS.iloc[:2], ab_test=name, unit=unit)
        expected = assign(test, unit)
        assert (found.variant, found.in_test) == (expected.variant.name, expected.in_test)
        assert str(found.version) == str(expected.variant.version)
    exposed = [assign(test, unit).variant.name for unit in units if assign(test, unit).in_test]

    async def counted() -> bool:
        result = await scorer.ab_test_result(name)
        return {one.variant: one.exposed_units for one in result.variants} == {arm: exposed.count(arm) for arm in arms}

    assert 0 < len(exposed) < len(units)
    await until(counted)
    concluded = await scorer.conclude_ab_test(name, winner="challenger", action="none", reason="enough")
    assert concluded.conclusion is not None
    assert sum(one.exposed_units for one in concluded.conclusion.result.variants) == len(exposed)
    found = await scorer.score(name, ROWS.iloc[:2], ab_test=name, unit=units[0])
    assert (found.variant, found.version.version, found.in_test) == ("challenger", 2, False)


async def test_a_stream_is_answered_by_the_variant_of_its_unit(scorer: AsyncClient) -> None:
    name = await registered(scorer, NUMBER, OTHER)
    test = await scorer.create_ab_test(name, {"a": f"{name}/1", "b": f"{name}/2"}, primary_metric="pnl_bps")
    unit = next(unit for unit in map(str, range(50)) if assign(test, unit).variant.name == "b")
    found = await collect(scorer.score_stream(name, [ROWS, ROWS], ab_test=name, unit=unit))
    assert [(one.variant, one.version.version) for one in found] == [("b", 2)] * 2


async def test_what_a_test_cannot_choose_is_refused_by_the_name_of_its_field(scorer: AsyncClient) -> None:
    name, other = await registered(scorer, NUMBER, OTHER), await registered(scorer, NUMBER)
    await scorer.create_ab_test(name, {"a": f"{name}/1", "b": f"{name}/2"}, primary_metric="pnl_bps")
    with pytest.raises(errors.InvalidField, match=r"versions: is given with ab_test"):
        await scorer.score(name, ROWS, ab_test=name, unit="u", version=1)
    version = await scorer.get_version(f"{name}/1")
    with pytest.raises(errors.InvalidField, match=r"as_of: is given with ab_test"):
        await scorer.score(name, ROWS, ab_test=name, unit="u", as_of=version.created_at)
    with pytest.raises(errors.InvalidField, match=rf"ab_test: is about {name}"):
        await scorer.score(other, ROWS, ab_test=name, unit="u")
    with pytest.raises(errors.InvalidField, match=r"unit: must have from 1"):
        await scorer.score(name, ROWS, ab_test=name)
    with pytest.raises(errors.InvalidField, match=r"unit: is given without ab_test"):
        await scorer.score(name, ROWS, unit="u")
    with pytest.raises(errors.AbTestNotFound):
        await scorer.score(name, ROWS, ab_test=f"{name}-x", unit="u")


async def test_scored_rows_are_live_data_and_their_labels_join_the_predictions(scorer: AsyncClient) -> None:
    name = await registered(scorer, NUMBER)
    live = pd.DataFrame(RNG.normal(3.0, size=(1_100, 2)), columns=["a", "b"])
    ids = [f"{name}-{number}" for number in range(len(live))]
    for start in range(0, len(live), 275):
        part = slice(start, start + 275)
        await scorer.score(name, live.iloc[part].assign(more=1.0), observe=True, ids=ids[part])
    await scorer.score(name, live.iloc[:275], observe=True, ids=ids[:275])  # As after a lost answer.

    async def reported() -> bool:
        return bool(await collect(scorer.list_drift_reports(name)))

    await until(reported)
    [report] = await collect(scorer.list_drift_reports(name))
    assert report.rows == 1_000, "the rows of the repeated call are not observed again"
    assert report.drift_detected
    assert report.label.startswith("scoring, ")
    recorded = await scorer.record_outcomes(f"{name}/1", ids, labels=live.a.to_numpy())
    assert (recorded.labels, recorded.predictions, recorded.waiting) == (len(ids), 0, 0)
    [period] = await collect(scorer.list_performance(f"{name}/1"))
    assert period.metrics["mae"] == pytest.approx(0.0, abs=1e-9)


async def test_rows_of_a_later_call_are_recorded_unless_their_ids_are_known(
    scorer: AsyncClient, scoring_server: RunningServer
) -> None:
    name = await registered(scorer, NUMBER)
    ids = [f"{name}-{number}" for number in range(6)]
    await scorer.score(name, ROWS.iloc[:4], observe=True, ids=ids[:4])
    await scorer.score(name, ROWS.iloc[2:6], observe=True, ids=ids[2:])

    async def recorded() -> bool:
        found = await scorer.record_outcomes(f"{name}/1", ids, labels=ROWS.a.to_numpy()[:6])
        return found.waiting == 0

    await until(recorded)
    with scoring_server.app.ledger.reading() as session:
        observed = seen_rows(session, name, 1, datetime(2026, 1, 1, tzinfo=UTC))
        seen = [one for rows in observed for one in ids_of(rows.ids or b"")]
    assert sorted(seen) == ids, "each row is live data once"


def ids_of(stream: bytes) -> list[str]:
    ids: list[str] = pa.ipc.open_stream(stream).read_all().column(0).to_pylist()
    return ids


async def test_rows_that_fail_have_no_prediction_also_without_probabilities(scorer: AsyncClient) -> None:
    name = await registered(scorer, RidgeClassifier().fit(ROWS, (ROWS.a > 0).astype(int)))
    gap = ROWS.iloc[:3].copy()
    gap.iloc[1, 0] = np.nan
    ids = [f"{name}-{number}" for number in range(3)]
    found = await scorer.score(name, gap, row_errors=True, observe=True, ids=ids)
    assert list(found.failed) == [1]

    async def recorded() -> bool:
        return (await scorer.record_outcomes(f"{name}/1", ids, labels=[1.0] * 3)).waiting == 1

    await until(recorded)
    assert (await scorer.record_outcomes(f"{name}/1", ids[1:2], labels=[1.0])).waiting == 1


async def test_each_of_several_versions_and_tables_is_observed(scorer: AsyncClient) -> None:
    name = await registered(scorer, NUMBER, OTHER)
    ids = [f"{name}-{number}" for number in range(len(ROWS))]
    await scorer.score_versions(name, ROWS.iloc[:100], [1, 2], observe=True, ids=ids[:100])
    tables = [ROWS.iloc[start : start + 100] for start in (100, 200, 300)]
    of_rows = (ids[start : start + 100] for start in (100, 200, 300))
    await collect(scorer.score_stream(name, tables, version=2, observe=True, ids=of_rows))

    async def recorded() -> bool:
        one = await scorer.record_outcomes(f"{name}/1", ids[:100], labels=ROWS.a.to_numpy()[:100])
        two = await scorer.record_outcomes(f"{name}/2", ids, labels=ROWS.a.to_numpy())
        return (one.waiting, two.waiting) == (0, 0)

    await until(recorded)


async def test_ids_are_taken_as_those_of_outcomes_are(scorer: AsyncClient) -> None:
    name = await registered(scorer, NUMBER)
    await scorer.score(name, ROWS.iloc[:3], observe=True, ids=np.arange(3))
    await collect(scorer.score_stream(name, [ROWS.iloc[3:5]], observe=True, ids=[pd.Series([3.0, 4.0])]))
    for missing in ([None, 1, 2], [1.5, 1, 2]):
        with pytest.raises(errors.InvalidField, match=r"ids\[0\]"):
            await scorer.score(name, ROWS.iloc[:3], observe=True, ids=missing)

    async def recorded() -> bool:
        return (await scorer.record_outcomes(f"{name}/1", range(5), labels=ROWS.a.to_numpy()[:5])).waiting == 0

    await until(recorded)


async def test_a_large_table_of_a_stream_is_observed_in_parts(scorer: AsyncClient) -> None:
    name = await registered(scorer, NUMBER)
    many = pd.DataFrame(RNG.normal(size=(12_000, 2)), columns=["a", "b"])
    ids = [f"{name}-{number}" for number in range(len(many))]
    parts = await collect(scorer.score_stream(name, [many], observe=True, ids=[ids]))
    assert [len(part.predictions) for part in parts] == [10_000, 2_000], "a message has 10,000 ids at most"

    async def recorded() -> bool:
        found = await scorer.record_outcomes(f"{name}/1", ids[9_990:10_010], labels=many.a.to_numpy()[9_990:10_010])
        return found.waiting == 0

    await until(recorded)


async def test_a_stream_has_ids_for_each_table_and_row(scorer: AsyncClient) -> None:
    name = await registered(scorer, NUMBER)
    for given, wrong in (([["1"]], "more or fewer entries than tables"), ([["1"], ["2"], ["3"]], "more or fewer")):
        with pytest.raises(errors.InvalidField, match=f"ids: has {wrong}"):
            await collect(scorer.score_stream(name, [ROWS.iloc[:1]] * 2, observe=True, ids=given))
    with pytest.raises(errors.InvalidField, match="ids: has 3 for a table of 2 rows"):
        await collect(scorer.score_stream(name, [ROWS.iloc[:2]], observe=True, ids=[["1", "2", "3"]]))
    with pytest.raises(errors.InvalidField, match="ids: are given without observe"):
        await collect(scorer.score_stream(name, [ROWS.iloc[:1]], ids=[["1"]]))


async def test_classes_that_are_numbers_are_recorded_with_their_probability(scorer: AsyncClient) -> None:
    name = await registered(scorer, SIGN)
    ids = [f"{name}-{number}" for number in range(50)]
    await scorer.score(name, ROWS.iloc[:50], observe=True, ids=ids)

    async def performs() -> bool:
        await scorer.record_outcomes(f"{name}/1", ids, labels=SIGN.predict(ROWS.iloc[:50]))
        periods = await collect(scorer.list_performance(f"{name}/1"))
        return bool(periods) and periods[0].metrics.get("accuracy") == 1.0 and periods[0].metrics["brier"] is not None

    await until(performs)


async def test_what_cannot_be_observed_is_refused_at_once(scorer: AsyncClient) -> None:
    name, bare, word = [
        await registered(scorer, model, reference=reference)
        for model, reference in ((NUMBER, ROWS), (NUMBER, None), (WORD, ROWS))
    ]
    ids = [str(number) for number in range(len(ROWS))]
    with pytest.raises(errors.InvalidField, match="ids: has 3 for 400 rows"):
        await scorer.score(name, ROWS, observe=True, ids=ids[:3])
    with pytest.raises(errors.InvalidField, match="ids: are given without observe"):
        await scorer.score(name, ROWS, ids=ids)
    with pytest.raises(errors.InvalidField, match="ids"):
        await scorer.score(name, ROWS, observe=True, ids=[*ids[:-1], ids[0]])
    with pytest.raises(errors.InvalidField, match=rf"observe: .*{bare}/1 has no default reference"):
        await scorer.score(bare, ROWS, observe=True, ids=ids)
    with pytest.raises(errors.InvalidField, match=r"observe: .*the classes are text"):
        await scorer.score(word, ROWS, observe=True, ids=ids)


async def test_rows_that_cannot_be_recorded_are_lost_alone_and_counted(
    scorer: AsyncClient, scoring_server: RunningServer
) -> None:
    name = await registered(scorer, NUMBER)
    await scorer.record_outcomes(f"{name}/1", [f"{name}-1"], predictions=[7.0])
    [writer] = [one for one in scoring_server.app.scoring_records.writers if one.kind == "observations"]
    before = writer.lost
    await scorer.score(name, ROWS.iloc[:2], observe=True, ids=[f"{name}-0", f"{name}-1"])
    await scorer.score(name, ROWS.iloc[2:4], observe=True, ids=[f"{name}-2", f"{name}-3"])

    async def recorded() -> bool:
        found = await scorer.record_outcomes(f"{name}/1", [f"{name}-2", f"{name}-3"], labels=[1.0, 1.0])
        return found.waiting == 0

    await until(recorded)
    assert writer.lost == before + 1
    found = await scorer.record_outcomes(f"{name}/1", [f"{name}-0"], labels=[1.0])
    assert found.waiting == 1, "a refused call is recorded in no part"


async def test_more_than_may_wait_is_lost_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    written: list[int] = []

    async def write(items: Any) -> None:
        written.extend(items)

    writer = BackgroundWriter("items", write, max_batch=2, max_size=5)
    for item in range(8):
        writer.add(item)
    assert writer.lost == 3
    assert [record.message for record in caplog.records] == [
        "items of scoring are lost, which from now on only the metrics count: too many wait to be written"
    ]
    writer.finish()
    await writer.run()
    assert written == [0, 1, 2, 3, 4]


async def test_what_waits_is_written_when_the_ledger_is_back_and_lost_with_the_server() -> None:
    attempts: list[list[int]] = []

    async def write(items: Any) -> None:
        attempts.append(list(items))
        if len(attempts) == 1 or 9 in items:
            raise errors.StoreUnavailable("away")

    writer = BackgroundWriter("items", write, max_batch=2, max_size=5)
    task = asyncio.create_task(writer.run())
    writer.add(1)

    async def again() -> bool:
        return attempts == [[1], [1]]

    await until(again)
    writer.add(9)
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait({task})
    assert writer.lost == 1

"""Leaks that the server can see, through both clients: each is found where it is, not found elsewhere, and gates."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from modelward import AsyncClient, Comparison, LeakCheck, LeakKind, PromotionPolicy, TrainingWindow, errors

pytestmark = pytest.mark.system  # Runs models in processes.

RANDOM = np.random.default_rng(4)
DATES = pd.bdate_range("2020-01-01", periods=1200)
ROWS = pd.DataFrame({"date": DATES, "ret": RANDOM.normal(size=1200), "volume": RANDOM.normal(size=1200)})
TARGET = ROWS["ret"].to_numpy() + RANDOM.normal(size=1200)
X, PAST = ROWS[["ret", "volume"]], slice(0, 800)
MODEL = LinearRegression().fit(X[PAST], TARGET[PAST])
AHEAD = make_pipeline(FunctionTransformer(np.sort, kw_args={"axis": 0}, validate=True), LinearRegression())


def found(comparison: Comparison, version: str) -> dict[LeakKind, LeakCheck]:
    return {leak.kind: leak for leak in comparison.result(version).leaks}


async def refused(client: AsyncClient, version: str, *kinds: LeakKind) -> str:
    await client.set_promotion_policy(PromotionPolicy(version.partition("/")[0], forbidden_leaks=kinds))
    with pytest.raises(errors.GatesFailed) as refusal:
        await client.promote(version, to="production", dry_run=True, reason="it passed its tests")
    return str(refusal.value)


async def test_each_leak_is_found_in_the_version_that_has_it(client: AsyncClient, name: str) -> None:
    clean = await client.register(name, MODEL, reference=ROWS[PAST], time="date")
    seen = await client.register(name, MODEL, reference=ROWS[600:], time="date")
    ahead = await client.register(name, AHEAD.fit(X[PAST], TARGET[PAST]))
    await client.promote(clean, to="staging")
    await client.promote(seen, to="staging")
    versions, test = [str(clean), str(seen), str(ahead)], ROWS[800:]
    compared = await client.compare(versions, test, TARGET[800:], time="date")
    assert compared == await client.get_comparison(compared.comparison_id)
    checks = found(compared, versions[0])
    assert {leak.found for leak in checks.values()} == {False}, checks
    assert checks[LeakKind.LOOK_AHEAD].detail.startswith("the first 200 rows have the same predictions")
    leaks = found(compared, versions[1])
    assert (leaks[LeakKind.SHARED_ROWS].found, leaks[LeakKind.SHARED_ROWS].value) == (True, 1.0)
    assert leaks[LeakKind.TRAINING_OVERLAP].found
    assert not leaks[LeakKind.LOOK_AHEAD].found
    looks = found(compared, versions[2])
    assert looks[LeakKind.LOOK_AHEAD].found  # Its rows are sorted.
    assert (looks[LeakKind.SHARED_ROWS].found, looks[LeakKind.SHARED_ROWS].detail) == (
        None,
        f"{versions[2]} has no reference",
    )
    assert f"{versions[1]}: {leaks[LeakKind.SHARED_ROWS].detail}" in compared.notes
    assert "looks ahead within a batch" in (await client.render_comparison(compared.comparison_id)).decode()
    said = await refused(client, versions[1], LeakKind.SHARED_ROWS, LeakKind.LOOK_AHEAD)
    assert "100% of the test rows stand in the reference" in said
    assert "same predictions" not in said
    gates = (await client.promote(clean, to="production", dry_run=True, reason="it passed its tests")).gates
    assert {gate.gate for gate in gates} >= {"forbidden_leaks.shared_rows", "forbidden_leaks.look_ahead"}
    sent: dict[Any, Any] = {versions[0]: TARGET[800:], versions[1]: TARGET[800:] * 0.5}
    await client.compare([], None, TARGET[800:], predictions=sent)
    assert "it was not checked: the server did not run" in await refused(client, versions[0], LeakKind.LOOK_AHEAD)


async def test_test_data_far_from_the_reference_are_found(client: AsyncClient, name: str) -> None:
    versions = [str(await client.register(name, MODEL, reference=X[PAST])) for _ in range(2)]
    common = RANDOM.normal(size=400)
    far = pd.DataFrame({"ret": common, "volume": common + 0.1 * RANDOM.normal(size=400)})  # Each alone is as before.
    compared = await client.compare(versions, far, common)
    leak = found(compared, versions[0])[LeakKind.FAR_FROM_REFERENCE]
    assert leak.found
    assert leak.value is not None
    assert leak.value > 0.8
    assert found(compared, versions[0])[LeakKind.TRAINING_OVERLAP].found is None
    few = await client.compare(versions, far[["ret", "volume"]][:10], common[:10])
    assert found(few, versions[0])[LeakKind.SHARED_ROWS].detail.startswith("the test data have too few rows")


WINDOWS: list[tuple[Any, timedelta, bool]] = [
    (("2020-01-01", DATES[799].date().isoformat()), timedelta(0), False),
    ((DATES[0], DATES[799].to_pydatetime()), timedelta(0), False),
    (("2020-01-01", DATES[799].date()), timedelta(days=5), True),
    (("2020-01-01", DATES[800].date()), timedelta(0), True),
]


async def test_versions_know_their_training_window_and_the_horizon_of_labels(client: AsyncClient, name: str) -> None:
    versions = [
        str(await client.register(name, MODEL, training_window=window, horizon=horizon))
        for window, horizon, _ in WINDOWS
    ]
    last = str(DATES[799].date())
    assert (await client.get_version(versions[2])).training_window == TrainingWindow(
        "2020-01-01", last, timedelta(days=5)
    )
    compared = await client.compare(versions, ROWS[800:], TARGET[800:], time="date")
    overlaps = [found(compared, version)[LeakKind.TRAINING_OVERLAP].found for version in versions]
    assert overlaps == [expected for _, _, expected in WINDOWS]
    for window, horizon, field in (
        (("2020-01-05", "2020-01-01"), timedelta(0), "training_window.last"),
        (("yesterday", "2020-01-01"), timedelta(0), "training_window.first"),
        ((1, 5), timedelta(days=1), "training_window.horizon"),
        (None, timedelta(days=1), "horizon"),
        (("2020-01-01",), timedelta(0), "training_window"),
    ):
        with pytest.raises(errors.InvalidField) as refusal:
            await client.register(name, MODEL, training_window=window, horizon=horizon)  # type: ignore[arg-type]
        assert refusal.value.violations[0].field == field


@pytest.mark.parametrize(
    ("given", "window"),
    [
        (("2015", "2023"), ("2015-01-01", "2023-12-31")),
        (("2015-03", "2020-02"), ("2015-03-01", "2020-02-29")),
        ((np.datetime64("2015"), np.datetime64("2023")), ("2015-01-01", "2023-12-31")),
        ((2015, np.int64(2023)), ("2015", "2023")),
    ],
)
async def test_a_year_of_training_data_is_no_integer(
    client: AsyncClient, name: str, given: Any, window: tuple[str, str]
) -> None:
    version = await client.register(name, MODEL, training_window=given)
    assert version.training_window == TrainingWindow(*window)

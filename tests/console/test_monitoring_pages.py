"""The pages of performance, comparisons, A/B tests and engines."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from modelward import AsyncClient
from modelward._coerce import AnyVersion
from modelward.lifecycle import LoadFailure
from modelward_server.console.pages.lists import ROWS
from tests.reports.test_drift_report import Page
from tests.support.abtest_traffic import outcomes, register_two

pytestmark = pytest.mark.system  # Takes seconds.

HOSTILE = "<script>alert(1)</script>"
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
async def two(sdk: AsyncClient, name: str, tmp_path: Path) -> dict[str, str]:
    """A champion in production, and a challenger."""
    return await register_two(sdk, name, tmp_path, staged=True)


async def record(sdk: AsyncClient, version: str, days: int, wrong_on_the_last: int = 0) -> None:
    """Record a hundred labelled predictions a day, ten of them wrong but on the last day."""
    times = [MONDAY + timedelta(days=day) for day in range(days) for _ in range(100)]
    wrong = [10 + day % 2 for day in range(days - 1)] + [wrong_on_the_last]
    predictions = [int(row < wrong[day]) for day in range(days) for row in range(100)]
    labels = np.zeros(100 * days, int)
    for rows in (slice(0, -100), slice(-100, None)):
        ids = list(range(100 * days))[rows]
        await sdk.record_outcomes(
            version, ids, predictions=predictions[rows], labels=labels[rows], predicted_at=times[rows]
        )


async def test_live_metrics_stand_beside_those_recorded_at_registration(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    await sdk.log_metrics(two["champion"], {"accuracy": 0.91})
    await record(sdk, two["champion"], days=8, wrong_on_the_last=60)
    answer = await browser.get(f"/models/{name}/performance")
    page = Page(answer.content)
    assert answer.status_code == 200
    assert "▲ A decline was detected in 1 of 8 periods" in page.text
    assert "recorded 0.91, live \N{MINUS SIGN}0.51" in page.text
    assert page.count("path", class_="yes") == page.count("figure") == 1
    shown = (await browser.get(f"/models/{name}/performance.json")).json()
    assert [period["declined"] for period in shown["periods"]] == [False] * 7 + [True]
    assert shown["metrics"][0]["reference"] == 0.91
    assert (await browser.get(f"/models/{name}/performance?period=soon")).status_code == 400


async def test_no_more_than_fifty_periods_are_on_a_page(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    await record(sdk, two["challenger"], days=52)
    page = (await browser.get(f"/models/{name}/performance", params={"version": 2})).text
    assert page.count('<tr><th scope="row">') == 50
    assert "The newest 50 periods" in page
    assert "mw.record_outcomes" in (await browser.get(f"/models/{name}/performance")).text


async def test_comparisons_are_listed_with_their_verdicts(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "There is no comparison yet" in (await browser.get(f"/models/{name}/comparisons")).text
    labels = np.arange(120) % 2
    sent: dict[AnyVersion, Any] = {two["champion"]: (labels + (np.arange(120) % 5 == 0)) % 2, two["challenger"]: labels}
    found = [await sdk.compare([], None, labels, predictions=sent, primary="accuracy") for _ in range(3)]
    page = Page((await browser.get(f"/models/{name}/comparisons")).content)
    assert found[0].summary in page.text
    assert page.text.count(found[0].conclusion.verdict.value) >= 3
    for one in found:
        assert page.count("a", href=f"/comparisons/{one.comparison_id}") == 1
    shown = (await browser.get(f"/models/{name}/comparisons.json")).json()
    assert [row["comparison_id"] for row in shown["comparisons"]] == [one.comparison_id for one in reversed(found)]
    assert ROWS == 50
    monkeypatch.setattr("modelward_server.console.pages.comparisons.ROWS", 2)
    page = Page((await browser.get(f"/models/{name}/comparisons")).content)
    assert page.count("th", scope="row") == 2


async def test_ab_tests_are_shown_with_their_split_and_course(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "There is no A/B test" in (await browser.get(f"/models/{name}/ab")).text
    running = await sdk.create_ab_test(f"{name}-run", two, primary_metric="pnl_bps", description=HOSTILE)
    await sdk.record_ab_outcomes(running, outcomes(running, 300))
    ended = await sdk.create_ab_test(f"{name}-end", two, primary_metric="pnl_bps")
    await sdk.conclude_ab_test(ended, winner="champion", action="none", reason=HOSTILE)
    page = Page((await browser.get(f"/models/{name}/ab")).content)
    assert page.count("script") == 1, "the console's own"
    assert page.text.count(HOSTILE) == 2
    assert "1 running, 1 concluded" in page.text
    assert page.count("path", class_="band") == 1
    assert page.text.count("50.0%") == 4
    shown = (await browser.get(f"/models/{name}/ab.json")).json()
    assert [row["test"]["state"] for row in shown["tests"]] == ["concluded", "running"]
    report = await browser.get(f"/reports/ab/{name}-run")
    assert report.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    monkeypatch.setattr("modelward_server.console.pages.ab_tests.ROWS", 1)
    assert f"{name}-run" not in Page((await browser.get(f"/models/{name}/ab")).content).text


async def test_the_grid_shows_which_engine_runs_what_and_why_not_the_expected_version(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    failure = LoadFailure(1, HOSTILE)
    await sdk.report_active(two["champion"], engine="good")
    await sdk.report_active(two["challenger"], engine="<b>bad</b>", failure=failure)
    await sdk.report_active(two["challenger"], engine="slow")
    page = Page((await browser.get("/engines", params={"prefix": name})).content)
    assert page.count("script") == 1, "the console's own"
    assert "2 of 3 pairs" in page.text
    assert f"✕ failed <b>bad</b> {name} 2 1" in page.text
    assert f"version 1: {HOSTILE}" in page.text
    assert page.text.index("✕ failed <b>bad</b>") < page.text.index("≠ lagging slow")
    shown = (await browser.get("/engines.json", params={"prefix": name})).json()
    assert shown["counts"] == {"failed": 1, "lagging": 1, "gone": 0, "converged": 1}
    assert "There is no model" in (await browser.get("/engines", params={"prefix": f"{name}-none"})).text
    assert "<script>alert" not in (await browser.get("/engines", params={"prefix": HOSTILE})).text


@pytest.mark.system  # Takes seconds.
async def test_no_more_than_fifty_models_and_thirty_engines_are_in_the_grid(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    for number in range(51):
        await sdk.create_model(f"{name}-{number:02}")
    for number in range(31):
        await sdk.report_active(two["champion" if number else "challenger"], engine=f"engine-{number:02}")
    page = Page((await browser.get("/engines", params={"prefix": name})).content)
    shown = (await browser.get("/engines.json", params={"prefix": name})).json()
    assert len(shown["rows"]) == 50
    assert len(shown["engines"]) == 30
    assert "engine-00" in shown["engines"], "the one that lags is not left out"
    assert "1 more engines" in page.text

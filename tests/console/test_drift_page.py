"""The page of a version's drift: features over time, and what other thresholds would have found."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from modelward import AsyncClient
from modelward.lifecycle import VersionRef
from tests.reports.test_drift_report import Kept, Page
from tests.support.drift_reports import FEATURES, MADE, crisis, numbers, quarters
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def kept(server: RunningServer) -> Kept:
    return Kept(server)


@pytest.fixture
async def version(sdk: AsyncClient, name: str, tmp_path: Path) -> VersionRef:
    (tmp_path / "model.bin").write_bytes(b"weights")
    return (await sdk.register(name, tmp_path / "model.bin")).ref


async def test_features_are_drawn_over_time_with_drivers_first(
    browser: httpx.AsyncClient, kept: Kept, version: VersionRef
) -> None:
    last = kept.keep(quarters(version))
    answer = await browser.get(f"/models/{version.model}/drift")
    assert answer.status_code == 200
    page = Page(answer.content)
    assert page.count("figure") == len(FEATURES)
    assert page.count("a", href=f"/reports/drift/{last}") > 1
    assert "2008Q4" in page.text
    shown = (await browser.get(f"/models/{version.model}/drift.json")).json()
    alarms = [sum(feature["drifted"]) for feature in shown["features"]]
    assert alarms == sorted(alarms, reverse=True)
    assert [report["would_alarm"] for report in shown["reports"]] == [None] * 8
    report = await browser.get(f"/reports/drift/{last}")
    assert report.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


async def test_other_limits_mark_which_reports_would_have_alarmed(
    browser: httpx.AsyncClient, kept: Kept, version: VersionRef
) -> None:
    calm = crisis(version, [numbers("slope", 1, 0.1, 1.0)])
    calm = replace(calm, created_at=MADE - timedelta(days=1), joint=replace(calm.joint, rows=0))
    kept.keep([calm, crisis(version)])
    address = f"/models/{version.model}/drift"

    async def marked(**limits: float) -> list[bool]:
        shown = (await browser.get(f"{address}.json", params=limits)).json()
        return [report["would_alarm"] for report in shown["reports"]]

    assert await marked(score=0.5) == [False, True]
    assert await marked(score=0.01, confidence=0.001) == [True, True]
    assert await marked(score=0.995) == [False, False]
    page = Page((await browser.get(address, params={"score": 0.995})).content)
    assert "0 of 2 reports would have alarmed" in page.text
    assert page.text.count("no, unlike then") == 1


@pytest.mark.parametrize("query", ["score=2", "score=nan", "confidence=x", "version=-1", "version=1e3", "score=inf"])
async def test_limits_that_are_no_shares_are_refused(
    browser: httpx.AsyncClient, version: VersionRef, query: str
) -> None:
    answer = await browser.get(f"/models/{version.model}/drift?{query}")
    assert answer.status_code == 400


async def test_hostile_labels_and_features_are_text_and_no_more_than_fifty_are_drawn(
    browser: httpx.AsyncClient, kept: Kept, version: VersionRef
) -> None:
    features = [numbers(f"{HOSTILE}{number}", 1, 1.5, 1.0) for number in range(52)]
    kept.keep(
        [replace(crisis(version, features), report_id=f"{version.model[-30:]}-{i}", label=HOSTILE) for i in range(21)]
    )
    page = Page((await browser.get(f"/models/{version.model}/drift", params={"score": 0.4})).content)
    assert page.count("script") == 1, "the console's own"
    assert page.count("figure") == 50
    assert "2 more features" in page.text
    assert page.text.count(f"▲ drift in {HOSTILE}") == 20, "reports"


async def test_a_version_without_reports_and_a_model_without_versions_say_how_to_begin(
    browser: httpx.AsyncClient, sdk: AsyncClient, version: VersionRef
) -> None:
    page = await browser.get(f"/models/{version.model}/drift")
    assert f"modelward drift {version}" in page.text
    await sdk.create_model(f"{version.model}-bare")
    page = await browser.get(f"/models/{version.model}-bare/drift")
    assert "modelward register" in page.text
    assert (await browser.get(f"/models/{version.model}-none/drift")).status_code == 404

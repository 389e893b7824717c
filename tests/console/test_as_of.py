"""The page of a model at an instant: what was known then, and nothing that was learnt later."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from modelward import AsyncClient

pytestmark = pytest.mark.system  # Takes seconds.

ROWS = {"x": np.arange(100.0)}


@pytest.fixture
async def times(sdk: AsyncClient, name: str, tmp_path: Path) -> dict[str, datetime]:
    """A model's instants: before it, version 1 in production, measured and compared, and version 2 in production."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    found = {"before": datetime.now(UTC)}
    for _ in range(2):
        await sdk.register(name, tmp_path / "model.bin", reference=ROWS)
    await _promote(sdk, f"{name}/1")
    found["promoted"] = datetime.now(UTC)
    await sdk.report_active(f"{name}/1", engine="ny4-01")
    await sdk.detect_drift(f"{name}/1", ROWS, label="calm")
    predicted: Any = {f"{name}/1": [0, 1] * 50, f"{name}/2": [1, 0] * 50}
    await sdk.compare([], None, [0, 1] * 50, predictions=predicted)
    found["measured"] = datetime.now(UTC)
    await sdk.detect_drift(f"{name}/1", {"x": np.arange(100.0) + 1000}, label="shifted")
    await _promote(sdk, f"{name}/2")
    await sdk.report_active(f"{name}/2", engine="ny4-01")
    return found


async def _promote(sdk: AsyncClient, version: str) -> None:
    await sdk.promote(version, to="staging")
    await sdk.promote(version, to="production", reason=f"{version} is better")


async def known(browser: httpx.AsyncClient, name: str, at: datetime) -> Any:
    return (await browser.get(f"/models/{name}.json", params={"as_of": at.isoformat()})).json()["as_of"]


async def test_what_was_learnt_later_is_not_shown(
    browser: httpx.AsyncClient, name: str, times: dict[str, datetime]
) -> None:
    assert (await known(browser, name, times["before"]))["existed"] is False
    promoted = await known(browser, name, times["promoted"])
    assert promoted["promotion"]["version"]["version"] == 1
    assert promoted["promotion"]["gates"]
    assert (promoted["drift"], promoted["comparison"], promoted["engines"]) == (None, None, [])
    measured = await known(browser, name, times["measured"])
    assert (measured["drift"]["label"], measured["drift"]["drift_detected"]) == ("calm", False)
    assert len(measured["comparison"]["results"]) == 2
    assert [(one["engine"], one["version"]["version"]) for one in measured["engines"]] == [("ny4-01", 1)]
    now = await known(browser, name, datetime.now(UTC))
    assert (now["promotion"]["version"]["version"], now["drift"]) == (2, None)
    assert [(one["engine"], one["version"]["version"]) for one in now["engines"]] == [("ny4-01", 2)]


async def test_what_was_not_recorded_is_said_to_be_so(
    browser: httpx.AsyncClient, name: str, times: dict[str, datetime]
) -> None:
    async def text(at: str) -> str:
        page = (await browser.get(f"/models/{name}", params={"as_of": times[at].isoformat()})).text
        return page.partition('id="then"')[2].partition("</section>")[0]

    assert "the model did not exist" in await text("before")
    promoted, measured = await text("promoted"), await text("measured")
    assert promoted.count("not recorded") == 2
    assert "Not recorded: no engine had reported" in promoted
    assert "is better" in measured
    assert "no drift detected" in measured
    assert "not recorded" not in measured


async def test_another_model_whose_name_begins_the_same_is_not_taken_for_it(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, times: dict[str, datetime]
) -> None:
    await sdk.create_model(name[:-1])
    at = times["measured"]
    assert (await known(browser, name[:-1], at))["existed"] is False

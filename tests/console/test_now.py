"""The first page: what needs attention, and what is in production."""

from pathlib import Path

import httpx
import pytest

from modelward import AsyncClient


@pytest.mark.system
async def test_a_halted_model_comes_first_with_its_reason_and_the_way_out(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    for model in (f"{name}-a", f"{name}-b"):
        await sdk.register(model, tmp_path / "model.bin")
        await sdk.promote(f"{model}/1", to="staging")
        await sdk.promote(f"{model}/1", to="production", reason="it passed its tests")
    await sdk.halt(f"{name}-b", reason="<b>exchange outage</b>")
    page = await browser.get("/", params={"prefix": name})
    assert page.status_code == 200
    assert "&lt;b&gt;exchange outage" in page.text
    assert f"/models/{name}-b/resume" in page.text
    rows = page.text.partition('<section aria-labelledby="production">')[2]
    assert rows.index(f"{name}-b") < rows.index(f"{name}-a")
    told = (await browser.get("/now.json", params={"prefix": name})).json()
    assert told["overview"]["totals"]["halted"] == 1


async def test_the_button_beside_a_notice_leads_where_its_text_says(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    await sdk.create_model(name)
    await sdk.request_retraining(name)
    await sdk.fail_job(await sdk.lease_job(name, holder="trainer"), "no data", give_up=True)
    page = (await browser.get("/", params={"prefix": name})).text
    assert "Correct the cause and retry the job." in page
    assert 'href="/retraining">See jobs and schedules</a>' in page


@pytest.mark.system  # Registers 52 models.
async def test_no_more_than_fifty_models_are_on_a_page(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    for number in range(52):
        await sdk.register(f"{name}-{number:02}", tmp_path / "model.bin")
        await sdk.promote(f"{name}-{number:02}/1", to="staging")
        await sdk.promote(f"{name}-{number:02}/1", to="production", reason="it passed its tests")
    first = await browser.get("/", params={"prefix": name})
    assert first.text.count('<tr><th scope="row">') == 50
    link = first.text.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert (await browser.get(link)).text.count('<tr><th scope="row">') == 2


async def test_an_empty_registry_says_how_to_begin(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/", params={"prefix": "nobody-has-this"})
    assert "modelward register" in page.text


async def test_no_text_reverses_what_follows_it(browser: httpx.AsyncClient, sdk: AsyncClient, name: str) -> None:
    await sdk.create_model(name)
    await sdk.halt(name, reason="\N{RIGHT-TO-LEFT OVERRIDE}segatuo")
    page = (await browser.get("/", params={"prefix": name})).text
    assert "\N{REPLACEMENT CHARACTER}segatuo" in page
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page

"""Addresses: names that look like something else, and the time zone of a page."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from modelward import AsyncClient
from modelward.retraining import AtSession
from tests.support.scale import FULL

pytestmark = pytest.mark.system  # Takes seconds.

PAGES = [
    "/models/{}",
    "/models/{}.json",
    "/models/{}/drift",
    "/models/{}/performance",
    "/models/{}/comparisons",
    "/models/{}/ab",
    "/models/{}/rollout",
    "/models/{}/versions/1",
    "/models/{}/halt",
    "/models/{}/versions/1/evidence.zip",
    "/models/{}/open-finding",
    "/approvals/{}",
    "/findings/{}",
    "/drills/{}",
    "/reports/drift/{}",
    "/comparisons/{}",
    "/compare/{}",
    "/reports/comparisons/{}",
    "/reports/ab/{}",
]
QUERIES = [
    "/?prefix={}",
    "/engines?prefix={}",
    "/compare?model={0}&label={0}",
    "/inventory?prefix={}",
    "/audit?model={}",
    "/approvals?model={}",
    "/approvals?waits_for={0}&state={0}",
    "/findings?owner={}",
    "/reviews?model={}",
    "/drills?model={}",
    "/scores?actor={}",
    "/retraining?model={}",
]
HOSTILE = ["a/b", "..", "%2F", "a%00b", "x.json", "\N{SNOWMAN}", "<b>x</b>", "a b", "-", "x" * 300]


@pytest.mark.parametrize("name", HOSTILE)
async def test_names_of_nothing_are_refused_and_not_repeated_as_markup(browser: httpx.AsyncClient, name: str) -> None:
    own = slice(None) if FULL else slice(HOSTILE.index(name) % 4, None, 4)
    for path in (PAGES + QUERIES)[own]:
        for written in {name, quote(name, safe="")}:
            answer = await browser.get(path.format(written), follow_redirects=True)
            assert answer.status_code in {200, 400, 404}, path
            form = answer.url.path == "/compare"  # Slashes alone lead to the form, as no name follows them.
            assert path in QUERIES or answer.status_code != 200 or name == ".." or form, path
            assert "<b>x</b>" not in answer.text
    assert (await browser.get("/find", params={"model": name}, follow_redirects=True)).status_code in {200, 400, 404}


@pytest.mark.parametrize("path", ["/nothing", "/models/", "/find?model=%20", "/models/x/versions/last", "/logout"])
async def test_an_address_of_no_page_leads_back_to_the_console(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path, follow_redirects=True)
    assert (answer.status_code, '<a href="/">What is in production</a>' in answer.text) == (404, True)


async def test_a_model_whose_name_ends_like_a_twin_has_its_own_pages(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str
) -> None:
    ending = f"{name}.json"
    for model in (name, ending):
        await sdk.create_model(model)
    for model in (name, ending):
        page = await browser.get(f"/models/{model}")
        assert (page.headers["content-type"].split(";")[0], f"<h1>{model}</h1>" in page.text) == ("text/html", True)
        for path in ("drift", "performance", "comparisons", "ab"):
            assert (await browser.get(f"/models/{model}/{path}")).status_code == 200
        assert (await browser.get(f"/models/{model}?format=json")).json()["model"]["name"] == model
    assert (await browser.get(f"/models/{ending}.json")).json()["model"]["name"] == ending
    assert (await browser.get("/models/none.json")).json()["title"]
    assert (await browser.get("/?format=json")).json()["overview"]


async def test_the_chosen_zone_is_shown_beside_utc_and_remembered(browser: httpx.AsyncClient) -> None:
    assert " EST<" not in (await browser.get("/system")).text
    for choice in ("America/Panama", "Asia/Tokyo", "XTKS"):
        chosen = await browser.get("/system", params={"tz": choice})
        assert " UTC, " in chosen.text
        assert (" EST</time>" if choice == "America/Panama" else " JST</time>") in chosen.text
    assert " JST</time>" in (await browser.get("/engines")).text
    await browser.get("/system?tz=UTC")
    assert " JST</time>" not in (await browser.get("/engines")).text


@pytest.mark.parametrize("zone", ["Moon/Crater", "../../etc/passwd", "XXXX", "<b>x</b>", "x" * 999])
async def test_what_is_no_zone_is_refused(browser: httpx.AsyncClient, zone: str) -> None:
    answer = await browser.get("/engines", params={"tz": zone})
    assert (answer.status_code, "is no time zone" in answer.text, "<b>x" in answer.text) == (400, True, False)
    browser.cookies.set("modelward_time_zone", quote(zone))
    assert (await browser.get("/engines")).status_code == 200


async def test_a_model_of_an_exchange_has_its_local_time(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    await sdk.register(name, tmp_path / "model.bin")
    before = (await browser.get(f"/models/{name}")).text
    await sdk.create_schedule(name, session=AtSession("XTKS", after_open=timedelta(hours=1)))
    version = await sdk.get_version(f"{name}/1")
    after = (await browser.get(f"/models/{name}")).text
    local = version.created_at + timedelta(hours=9)
    assert f"{local:%H:%M} JST" in after
    assert "JST" not in before
    assert "JST" not in (await browser.get("/engines")).text

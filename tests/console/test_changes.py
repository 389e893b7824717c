"""Changes by the console: shown as a dry run first, made once, refused where the page is too old."""

import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path

import httpx
import pytest

from modelward import AsyncClient, PromotionPolicy, errors

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def model(sdk: AsyncClient, name: str, tmp_path: Path) -> str:
    """A model with version 1 in production and version 2 in staging."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    for version in (1, 2):
        await sdk.register(name, tmp_path / "model.bin", description=HOSTILE)
        await sdk.promote(f"{name}/{version}", to="staging", reason=HOSTILE)
    await sdk.promote(f"{name}/1", to="production", reason="first")
    return name


def fields(page: str) -> dict[str, str]:
    """Return the hidden fields of the form of a change."""
    form = page.partition('<form method="post" class="act">')[2].partition("</form>")[0]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


async def sent(browser: httpx.AsyncClient, path: str, form: Mapping[str, str]) -> httpx.Response:
    return await browser.post(path, data={**form, "reason": "better"}, headers={"origin": str(browser.base_url)})


async def test_a_promotion_is_shown_and_then_made_once(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str
) -> None:
    path = f"/models/{model}/promote?version=2&to=production"
    asked = await browser.get(path)
    assert f"{model}/1 leaves production" in asked.text
    assert (await sdk.resolve(model)).version.version == 1
    form = fields(asked.text)
    for _ in range(2):
        answer = await sent(browser, path, form)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/models/{model}/rollout")
    moves = [move async for move in sdk.list_transitions(model, version=2)]
    assert [(move.to_stage, move.actor, move.reason) for move in moves][:1] == [("production", "console", "better")]
    assert len(moves) == 3


async def test_a_change_of_what_has_changed_meanwhile_is_refused(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str
) -> None:
    path = f"/models/{model}/rollback"
    await sdk.promote(f"{model}/2", to="production", reason="it passed its tests")
    form = fields((await browser.get(path)).text)
    await sdk.update_model(model, tags={"desk": "eu"})
    answer = await sent(browser, path, form)
    assert answer.status_code == 409
    assert (await sdk.resolve(model)).version.version == 2


async def test_a_halt_needs_a_reason_and_a_resume_ends_it(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str
) -> None:
    asked = await browser.get(f"/models/{model}/halt")
    assert re.search(r'name="reason"[^>]* required', asked.text)
    await sent(browser, f"/models/{model}/halt", fields(asked.text))
    with pytest.raises(errors.ModelHalted):
        await sdk.resolve(model)
    assert "<b>Halted</b> by console" in (await browser.get(f"/models/{model}")).text
    await sent(browser, f"/models/{model}/resume", fields((await browser.get(f"/models/{model}/resume")).text))
    assert (await sdk.resolve(model)).version.version == 1


async def test_a_resumption_names_the_halt_that_it_ends_and_ends_no_other(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str
) -> None:
    path = f"/models/{model}/resume"
    assert f"{model} is not halted" in (await browser.get(path)).text
    await sdk.halt(model, reason="exchange outage")
    assert "It is halted already, by ada since" in (await browser.get(f"/models/{model}/halt")).text
    asked = (await browser.get(path)).text
    assert "It ends the halt by ada since" in asked
    assert "exchange outage" in asked
    await sdk.halt(model, reason="wrong orders")
    refused = await sent(browser, path, fields(asked))
    assert (refused.status_code, "wrong orders" in refused.text) == (409, True)
    with pytest.raises(errors.ModelHalted):
        await sdk.resolve(model)
    form = fields((await browser.get(path)).text)
    for _ in range(2):
        assert (await sent(browser, path, form)).status_code == 303
    assert (await sdk.resolve(model)).version.version == 1


async def test_a_command_is_one_whatever_the_address_names(browser: httpx.AsyncClient, model: str) -> None:
    asked = unescape((await browser.get(f"/models/{model}/promote?version=2&to=production;rm%20-r%20~")).text)
    assert f"modelward promote {model}/2 --to 'production;rm -r ~'" in asked


async def test_gates_that_fail_are_shown_and_there_is_no_button(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str
) -> None:
    await sdk.set_promotion_policy(PromotionPolicy(model, required_tags=("owner",)))
    asked = await browser.get(f"/models/{model}/promote?version=2&to=production")
    assert "required_tags.owner" in asked.text
    assert "The server refuses this now" in asked.text
    assert '<form method="post" class="act">' not in asked.text


@pytest.mark.parametrize(
    ("changed", "headers"),
    [({"form_key": "guessed"}, {}), ({"form_key": ""}, {}), ({}, {"origin": "https://elsewhere.example"})],
)
async def test_a_form_of_another_site_changes_nothing(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str, changed: dict[str, str], headers: dict[str, str]
) -> None:
    form = fields((await browser.get(f"/models/{model}/halt")).text) | {"reason": "attack"} | changed
    answer = await browser.post(f"/models/{model}/halt", data=form, headers=headers)
    assert answer.status_code == 403
    assert (await sdk.get_model(model)).halt is None


async def test_a_form_is_accepted_from_the_host_that_a_proxy_tells(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str
) -> None:
    form = fields((await browser.get(f"/models/{model}/halt")).text) | {"reason": "exchange outage"}
    for told, status in (("other.example.com", 403), ("registry.example.com", 303)):
        headers = {"origin": "https://registry.example.com", "x-forwarded-host": told}
        assert (await browser.post(f"/models/{model}/halt", data=form, headers=headers)).status_code == status
    assert (await sdk.get_model(model)).halt is not None


async def test_nothing_that_users_wrote_is_markup(browser: httpx.AsyncClient, model: str) -> None:
    for path in (f"/models/{model}", f"/models/{model}/versions/2", f"/models/{model}/promote?version=2&to=production"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"


async def test_pages_have_a_twin_in_json(browser: httpx.AsyncClient, model: str) -> None:
    told = (await browser.get(f"/models/{model}.json")).json()
    assert told["production"]["version"] == 1
    assert [one["version"] for one in told["periods"]] == [1]
    assert (await browser.get(f"/models/{model}/versions/2.json")).json()["version"]["description"] == HOSTILE


async def test_what_was_in_production_at_an_instant_is_told(
    browser: httpx.AsyncClient, sdk: AsyncClient, model: str
) -> None:
    before = (await sdk.get_model(model)).updated_at
    await sdk.promote(f"{model}/2", to="production", reason="second")
    then = await browser.get(f"/models/{model}", params={"as_of": before.isoformat()})
    assert "<b>version 1</b> was in production" in then.text
    assert "no version was in production" in (await browser.get(f"/models/{model}?as_of=2001-01-01T00:00")).text
    wrong = await browser.get(f"/models/{model}?as_of=yesterday")
    assert (wrong.status_code, "is not an instant" in wrong.text) == (400, True)


async def test_what_does_not_exist_is_not_found(browser: httpx.AsyncClient, model: str) -> None:
    for path in ("/models/nobody", f"/models/{model}/versions/9", f"/models/{model}/destroy", "/reports/drift/none"):
        assert (await browser.get(path)).status_code == 404


async def test_another_name_of_this_machine_is_refused(browser: httpx.AsyncClient, model: str) -> None:
    answer = await browser.get(f"/models/{model}", headers={"host": "attacker.example"})
    assert answer.status_code == 421


async def test_a_form_that_cannot_be_read_is_refused_in_words(browser: httpx.AsyncClient, model: str) -> None:
    for content in (b"reason=" + b"r" * 500_001, b"reason=\xff"):
        for path in (f"/models/{model}/halt", "/login", "/logout", "/audit/verify"):
            answer = await browser.post(path, content=content)
            assert (answer.status_code, "<h1>It failed</h1>" in answer.text) == (400, True)


@pytest.mark.parametrize("query", ["", "?version=2", "?to=production"])
async def test_a_promotion_of_nothing_is_refused_in_words(browser: httpx.AsyncClient, model: str, query: str) -> None:
    answer = await browser.get(f"/models/{model}/promote{query}")
    assert (answer.status_code, "is missing" in answer.text) == (400, True)
    form_key = fields((await browser.get(f"/models/{model}/halt")).text)["form_key"]
    answer = await browser.post(f"/models/{model}/promote", data={"form_key": form_key})
    assert (answer.status_code, "is missing" in answer.text) == (400, True)

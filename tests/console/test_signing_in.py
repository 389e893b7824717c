"""Who uses the console acts with a token of his own, and with no more than it allows."""

import asyncio
from collections.abc import AsyncIterator
from html import unescape

import httpx
import pytest

from modelward import Client
from modelward.caller import Role
from modelward_server.console import guard, sessions
from tests.console.conftest import ADDRESS, browsing, sign_in
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer


async def test_a_stranger_is_asked_to_sign_in_and_then_sees_the_page(
    stranger: httpx.AsyncClient, guarded: RunningServer
) -> None:
    asked = await stranger.get("/models/spx-1")
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=/models/spx-1")
    assert (await stranger.get("/models/spx-1.json")).status_code == 401
    answer = await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "spx-"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/models/spx-1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    page = await stranger.get("/models/spx-1")
    assert (page.status_code, "/models/spx-1/halt" in page.text) == (200, False)
    assert (await stranger.get("/models/ndx-1")).status_code in {403, 404}


async def test_signing_in_leads_to_the_address_with_its_query(
    stranger: httpx.AsyncClient, guarded: RunningServer
) -> None:
    path = "/findings?model=spx-1&state=any"
    asked = await stranger.get(path)
    shown = await stranger.get(asked.headers["location"])
    after = unescape(shown.text.partition('name="next" value="')[2].partition('"')[0])
    answer = await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER), after)
    assert answer.headers["location"] == path


async def test_a_wrong_token_is_refused_in_words(stranger: httpx.AsyncClient) -> None:
    answer = await sign_in(stranger, "mw_guessed")
    assert (answer.status_code, 'role="alert"' in answer.text) == (401, True)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("after", ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example"])
async def test_signing_in_leads_to_no_other_site(
    stranger: httpx.AsyncClient, guarded: RunningServer, after: str
) -> None:
    answer = await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER), after)
    assert answer.headers["location"] == "/"


async def test_sessions_of_two_consoles_of_a_host_do_not_replace_each_other(
    stranger: httpx.AsyncClient, guarded: RunningServer
) -> None:
    other_address = ADDRESS.replace("50062", "50063")
    async with browsing(guarded) as other:
        other.base_url = other_address
        other.cookies = stranger.cookies  # Browsers send them to every port of a host.
        await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER))
        form = {"token": token_of(guarded, "otto", Role.OPERATOR), "next": "/"}
        await other.post("/login", data=form, headers={"origin": other_address})
        for browser, name in ((stranger, "vera"), (other, "otto")):
            assert f"<span>{name} <span" in (await browser.get("/system")).text


async def test_a_viewer_changes_nothing(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER))
    page = await stranger.get("/models/spx-1/halt")
    form_key = page.text.partition('name="form_key" value="')[2].partition('"')[0]
    assert form_key
    sent = {"form_key": form_key, "reason": "because"}
    answer = await stranger.post("/models/spx-1/halt", data=sent, headers={"origin": ADDRESS})
    assert answer.status_code == 403
    with Client(guarded.target, token=token_of(guarded, "root", Role.ADMIN)) as client:
        assert client.get_model("spx-1").halt is None


async def test_changes_are_recorded_for_who_signed_in(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "otto", Role.OPERATOR))
    page = await stranger.get("/models/ndx-1/halt")
    form_key = page.text.partition('name="form_key" value="')[2].partition('"')[0]
    await stranger.post("/models/ndx-1/halt", data={"form_key": form_key, "reason": "because"})
    with Client(guarded.target, token=token_of(guarded, "root", Role.ADMIN)) as client:
        halt = client.get_model("ndx-1").halt
    assert halt is not None
    assert halt.actor == "otto"


async def test_signing_out_ends_the_session(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER))
    page = await stranger.get("/models/spx-1")
    form_key = page.text.partition('name="form_key" value="')[2].partition('"')[0]
    kept = dict(stranger.cookies)
    assert (await stranger.post("/logout", data={"form_key": form_key})).status_code == 303
    stranger.cookies.update(kept)
    assert (await stranger.get("/models/spx-1")).status_code == 303


async def test_a_proxy_s_token_is_the_user_s(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    proxied = {"authorization": f"Bearer {token_of(guarded, 'vera', Role.VIEWER, 'spx-')}"}
    assert (await stranger.get("/models/spx-1", headers=proxied)).status_code == 200
    assert (await stranger.get("/models/ndx-1", headers=proxied)).status_code in {403, 404}
    assert (await stranger.get("/models/spx-1")).status_code == 303


async def test_made_up_tokens_end_nobody_s_session(
    stranger: httpx.AsyncClient, guarded: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    await sign_in(stranger, token_of(guarded, "vera", Role.VIEWER, "spx-"))
    cookie = dict(stranger.cookies)
    stranger.cookies.clear()
    for number in range(10):
        made_up = {"authorization": f"Bearer mw_{number}"}
        assert (await stranger.get("/models/spx-1.json", headers=made_up)).status_code == 401
        assert (await stranger.get("/events?page=/", headers=made_up)).status_code == 204
    stranger.cookies.update(cookie)
    assert (await stranger.get("/models/spx-1")).status_code == 200


@pytest.mark.system
async def test_a_proxy_s_requests_at_once_share_a_session(stranger: httpx.AsyncClient, guarded: RunningServer) -> None:
    proxied = {"authorization": f"Bearer {token_of(guarded, 'vera', Role.VIEWER, 'spx-')}"}
    answers = await asyncio.gather(*(stranger.get("/models/spx-1", headers=proxied) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_form_that_does_not_arrive_is_given_up(
    stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "FORM_SECONDS", 0.2)

    async def half() -> AsyncIterator[bytes]:
        yield b"token="
        await asyncio.Event().wait()

    answer = await stranger.post("/login", content=half(), headers={"origin": ADDRESS})
    assert (answer.status_code, "did not arrive in 0.2 s" in answer.text) == (504, True)

"""Open pages follow changes: they are sent again, once for all with the same credential, and end with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from modelward import AsyncClient
from modelward.caller import Role
from modelward.errors import FailedPrecondition, LimitReached, NotAuthenticated
from modelward.lifecycle import EventKind, ModelEvent
from modelward_server.console import application, live_pages, sessions
from modelward_server.console.live import Live
from modelward_server.console.live_pages import newest, put
from modelward_server.console.pages import model as model_page
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from tests.console.conftest import ADDRESS, sign_in
from tests.security.test_tokens import token_of
from tests.support.abtest_traffic import register_two
from tests.support.ports import free_port
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Waits for changes.
COOKIE = "modelward_session_50062"


class Ending:
    """A client whose first watch ends with its credential, and whose second one tells of a change."""

    def __init__(self) -> None:
        self.watches = 0

    async def watch(self, **_: object) -> AsyncIterator[Any]:
        self.watches += 1
        if self.watches == 1:
            raise NotAuthenticated("the token has expired")
        yield SimpleNamespace(kind=EventKind.HALTED, model="spx")
        await asyncio.Event().wait()


async def test_a_page_that_opens_after_a_watch_has_ended_is_told_of_changes() -> None:
    client: Any = Ending()
    ends: list[str] = []
    live = Live(client, lambda: ends.append("ended"))
    told: asyncio.Queue[ModelEvent | None] = asyncio.Queue()
    with live.telling(told.put_nowait):
        assert await asyncio.wait_for(told.get(), PATIENCE_SECONDS) is None
        with live.telling(told.put_nowait):  # While the first one has not left yet.
            event = await asyncio.wait_for(told.get(), PATIENCE_SECONDS)
            assert event
            assert (event.model, client.watches, ends) == ("spx", 2, ["ended"])


class Opened:
    """An open page."""

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        self._events = events

    async def next(self) -> str:
        """Return the page as it is sent next."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (event := (await anext(self._events)).decode()).startswith("data:"):
                pass
        return event

    async def until(self, text: str) -> str:
        """Return the first page that has a text."""
        while text not in (shown := await self.next()):
            pass
        return shown

    async def end(self) -> None:
        """Wait until it is ended by the console."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for _ in self._events:
                pass


@asynccontextmanager
async def opened(app: Starlette, page: str, cookie: str = "") -> AsyncIterator[Opened]:
    """Open a page as the script does; httpx would wait for the end of what it is sent."""
    answer: Any = await application._events(_events_request(app, page, cookie))
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            yield Opened(answer.body_iterator)
        finally:
            await answer.body_iterator.aclose()


def _events_request(app: Starlette, page: str, cookie: str = "") -> Request:
    headers = [(b"host", b"127.0.0.1"), (b"cookie", f"{COOKIE}={cookie}".encode())]
    query = str(httpx.QueryParams({"page": page})).encode()
    scope = {"type": "http", "method": "GET", "path": "/events", "query_string": query, "headers": headers, "app": app}
    scope["server"] = ("127.0.0.1", 50062)
    return Request(scope)


@pytest.fixture
async def two(sdk: AsyncClient, name: str, tmp_path: Path) -> dict[str, str]:
    """A champion in production, and a challenger in staging."""
    return await register_two(sdk, name, tmp_path, staged=True)


def app_of(browser: httpx.AsyncClient) -> Starlette:
    transport: Any = browser._transport
    app: Starlette = transport.app
    return app


async def test_a_rollout_is_followed_until_all_engines_have_it(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str]
) -> None:
    await sdk.report_active(two["champion"], engine="ny4")
    async with opened(app_of(browser), f"/models/{name}/rollout") as page:
        first = await page.next()
        assert "1 of 1 engine runs version 1" in first
        assert '<div id="live">' in first
        assert "form_key" not in first
        assert "<nav" not in first
        await sdk.promote(two["challenger"], to="production", reason="it passed its tests")
        await page.until("0 of 1 engine runs version 2")
        await sdk.report_active(two["challenger"], engine="ny4")
        await page.until("Every engine that reports runs the version in production")


@pytest.mark.parametrize("path", ["/", "/retraining"])
async def test_jobs_and_changes_are_followed_by_pages_of_all_models(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, path: str
) -> None:
    await sdk.create_model(name)
    async with opened(app_of(browser), path) as page:
        await page.next()
        job = await sdk.request_retraining(name)
        await sdk.fail_job(await sdk.lease_job(name, holder="trainer"), "no data", give_up=True)
        await page.until(f"{job.job_id}" if path == "/retraining" else name)


@pytest.mark.parametrize("path", ["/engines?prefix={name}", "/models/{name}/rollout"])
async def test_what_comes_about_without_a_change_is_shown_too(
    browser: httpx.AsyncClient,
    sdk: AsyncClient,
    name: str,
    two: dict[str, str],
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_pages, "LOOK_SECONDS", 0.5)
    await sdk.report_active(two["champion"], engine="ny4", silent_after=timedelta(seconds=2))
    async with opened(app_of(browser), path.format(name=name)) as page:
        assert "silent for longer" not in await page.next()
        await page.until("silent for longer than it announced")


async def test_an_ab_test_that_begins_is_shown_on_its_open_page(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pages, "LOOK_SECONDS", 0.5)
    async with opened(app_of(browser), f"/models/{name}/ab") as page:
        await page.until("no A/B test of this model yet")
        await sdk.create_ab_test(name, two, primary_metric="pnl_bps")
        await page.until("1 running, 0 concluded")


async def test_a_change_is_rendered_once_for_all_pages_that_it_concerns(
    browser: httpx.AsyncClient, sdk: AsyncClient, name: str, two: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, fetched = app_of(browser), []
    fetch = model_page.fetch

    async def counted(client: AsyncClient, request: Request) -> Any:
        fetched.append(request.path_params["model"])
        return await fetch(client, request)

    monkeypatch.setattr(model_page, "fetch", counted)
    await sdk.create_model(f"other-{name}")
    async with (
        opened(app, f"/models/{name}") as first,
        opened(app, f"/models/{name}") as second,
        opened(app, f"/models/other-{name}") as other,
    ):
        for page in (first, second, other):
            await page.next()
        before = len(fetched)
        await sdk.halt(name, reason="stop it now")
        assert await first.until("stop it now") == await second.until("stop it now")
        await asyncio.sleep(0.5)
        assert fetched[before:] == [name]


async def test_pages_of_one_token_share_a_watch_and_end_with_their_session(guarded: RunningServer) -> None:
    token, watches = token_of(guarded, "vera", Role.VIEWER), []

    class Counting(AsyncClient):
        def watch(self, *args: Any, **kwargs: Any) -> Any:
            watches.append(kwargs)
            return super().watch(*args, **kwargs)

    app = application.application(lambda token: Counting(guarded.target, token=token or None), loopback=True)
    async with app.router.lifespan_context(app):
        cookies = []
        for _ in range(2):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as browser:
                await sign_in(browser, token)
                cookies.append(browser.cookies[COOKIE])
        async with opened(app, "/", cookies[0]) as left, opened(app, "/models/spx-1", cookies[1]) as right:
            await left.next()
            await right.next()
            assert len(watches) == 1
            await app.state.sessions.end(cookies[0])
            await left.end()
            async with AsyncClient(guarded.target, token=token_of(guarded, "root", Role.ADMIN)) as root:
                await root.update_model("spx-1", description="still followed")
            await right.until("still followed")


async def test_pages_end_with_the_credential(guarded: RunningServer, stranger: httpx.AsyncClient) -> None:
    app = app_of(stranger)
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    await sign_in(stranger, token_of(guarded, "uma", Role.VIEWER, expires_at=expires_at))
    cookie = stranger.cookies[COOKIE]
    async with opened(app, "/models/spx-1", cookie) as page:
        await page.next()
        assert datetime.now(UTC) < expires_at
        await page.end()
        assert datetime.now(UTC) >= expires_at


async def test_pages_end_soon_after_their_token_is_revoked(
    guarded: RunningServer, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pages, "LOOK_SECONDS", 0.5)
    token = token_of(guarded, "uma", Role.VIEWER)
    await sign_in(stranger, token)
    async with opened(app_of(stranger), "/models/spx-1", stranger.cookies[COOKIE]) as page:
        await page.next()
        with admin_session(guarded.settings) as (session, caller):
            grants.revoke(session, token.split("_")[1], caller)
        await page.end()
    assert "/login" in (await stranger.get("/models/spx-1")).headers["location"]
    form = {"reason": "stop", "form_key": "kept"}
    assert (await stranger.post("/models/spx-1/halt", data=form, headers={"origin": ADDRESS})).status_code != 200


async def test_a_session_whose_user_is_idle_ends_with_its_open_pages_and_its_watch(
    guarded: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, clients, watch_ended = token_of(guarded, "vera", Role.VIEWER), list[AsyncClient](), asyncio.Event()

    class Watching(AsyncClient):
        async def watch(self, *args: Any, **kwargs: Any) -> AsyncIterator[ModelEvent]:  # type: ignore[override]
            try:
                async for event in super().watch(*args, **kwargs):
                    yield event
            finally:
                watch_ended.set()

    def connect(token: str) -> AsyncClient:
        clients.append(Watching(guarded.target, token=token or None))
        return clients[-1]

    monkeypatch.setattr(sessions, "LOOK_SECONDS", 0.1)
    app = application.application(connect, loopback=True)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=ADDRESS) as browser,
    ):
        await sign_in(browser, token)
        cookie = browser.cookies[COOKIE]
        session = app.state.sessions.find(cookie, uses=False)
        used_at = session.used_at
        async with opened(app, "/models/spx-1", cookie) as page:
            await page.next()
            assert session.used_at == used_at, "a page that connects again is not its user"
            assert (await browser.get("/models/spx-1")).status_code == 200
            assert session.used_at > used_at
            monkeypatch.setattr(sessions, "IDLE_SECONDS", 0.1)
            await page.end()
        await asyncio.wait_for(watch_ended.wait(), PATIENCE_SECONDS)
        assert (await browser.get("/events?page=/")).status_code == 204
        assert "/login" in (await browser.get("/models/spx-1")).headers["location"]
        with pytest.raises(FailedPrecondition, match="closed"):
            await clients[0].get_caller()


async def test_a_page_connects_again_while_the_server_is_away(server: RunningServer) -> None:
    targets = [f"127.0.0.1:{free_port()}", server.target]
    app = application.application(lambda _: AsyncClient(targets[0], timeout=0.5), loopback=True)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=ADDRESS) as browser,
    ):
        answer = await browser.get("/events?page=/")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.text == "retry: 3000\n\n", "after an error a browser would not connect again"


async def test_what_is_no_page_that_follows_is_not_found(browser: httpx.AsyncClient) -> None:
    for page in ("", "/audit", "/models/a/b/c", "//elsewhere.example/"):
        assert (await browser.get("/events", params={"page": page})).status_code == 404


async def test_so_many_pages_are_followed_and_the_next_one_is_refused(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_PAGES", 2)
    app = app_of(browser)
    async with opened(app, "/") as first, opened(app, "/engines") as second:
        await first.next()
        await second.next()
        with pytest.raises(LimitReached, match="2 pages are open"):
            await application._events(_events_request(app, "/?kind=other"))
        async with opened(app, "/") as shared:
            await shared.next()
    await asyncio.sleep(0)
    async with opened(app, "/retraining") as later:
        await later.next()


def test_the_end_of_a_page_is_not_replaced() -> None:
    queue = newest()
    for content in (b"now", None, b"later"):
        put(queue, content)
    assert queue.get_nowait() is None

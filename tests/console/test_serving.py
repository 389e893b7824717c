"""The console as a part of the server, over HTTP."""

from pathlib import Path

import httpx
import pytest

from modelward import AsyncClient
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Starts servers.


async def test_a_server_serves_its_console_until_it_stops(tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path, console_port=0))
    address = f"http://127.0.0.1:{running.app.console.port}"
    async with AsyncClient(running.target) as client:
        await client.create_model("spx")
    async with httpx.AsyncClient(base_url=address) as browser:
        page = await browser.get("/models/spx")
        assert (page.status_code, "<h1>spx</h1>" in page.text) == (200, True)
        for path in ("console.css", "report.css", "console.js", "icon.svg"):
            assert (await browser.get(f"/static/{path}")).status_code == 200
    running.stop()
    async with httpx.AsyncClient(base_url=address) as browser:
        with pytest.raises(httpx.ConnectError):
            await browser.get("/models/spx")


async def test_a_console_without_changes_offers_none(tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path, console_port=0, console_read_only=True))
    async with AsyncClient(running.target) as client:
        await client.create_model("spx")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.app.console.port}") as browser:
        assert "/halt" not in (await browser.get("/models/spx")).text
        assert (await browser.get("/models/spx/halt")).status_code == 404
        assert (await browser.post("/models/spx/halt", data={"reason": "r"})).status_code == 404
    running.stop()


async def test_an_open_page_is_told_of_a_change_and_the_server_stops_nevertheless(tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path, console_port=0, grace_seconds=3))
    address = f"http://127.0.0.1:{running.app.console.port}"
    async with (
        AsyncClient(running.target) as client,
        httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as browser,
        browser.stream("GET", "/events?page=/") as events,
    ):
        lines = events.aiter_lines()
        assert await anext(lines) == ": connected"
        assert events.headers["x-accel-buffering"] == "no", "a proxy would hold events back"
        await client.create_model("spx")
        await client.halt("spx", reason="exchange outage")
        async for line in lines:
            if "exchange outage" in line:
                break
        running.stop()

"""A console on the shared server, and a browser without scripts."""

from collections.abc import AsyncIterator

import httpx
import pytest

from modelward import AsyncClient
from modelward_server.console.application import application
from tests.support.running_server import RunningServer

ADDRESS = "http://127.0.0.1:50062"


@pytest.fixture(scope="session")
def database_url() -> str:
    """One database is enough here: the console is a client."""
    return ""


@pytest.fixture
async def browser(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the console, which may change things."""
    app = application(lambda token: AsyncClient(server.target, actor="console", token=token or None), loopback=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ADDRESS) as browser,
    ):
        yield browser


@pytest.fixture
async def sdk(server: RunningServer) -> AsyncIterator[AsyncClient]:
    """What other programs do meanwhile."""
    async with AsyncClient(server.target, actor="ada") as client:
        yield client

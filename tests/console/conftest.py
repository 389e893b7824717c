"""A console on the shared server, and a browser without scripts."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from modelward import AsyncClient, Client
from modelward.caller import Role
from modelward_server.console.application import application
from modelward_server.settings import Settings
from tests.evidence.test_pack import write_key
from tests.security.test_tokens import token_of
from tests.support.desk import Desk, running_desk
from tests.support.running_server import RunningServer

ADDRESS = "http://127.0.0.1:50062"


@asynccontextmanager
async def browsing(server: RunningServer, *, read_only: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """Open a browser at a console of its own."""

    def connect(token: str) -> AsyncClient:
        return AsyncClient(server.target, actor="console", token=token or None)

    app = application(connect, loopback=True, read_only=read_only)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ADDRESS) as browser,
    ):
        yield browser


@pytest.fixture(scope="session")
def database_url() -> str:
    """One database is enough here: the console is a client."""
    return ""


@pytest.fixture
async def browser(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the console, which may change things."""
    async with browsing(server) as browser:
        yield browser


@pytest.fixture
async def sdk(server: RunningServer) -> AsyncIterator[AsyncClient]:
    """What other programs do meanwhile."""
    async with AsyncClient(server.target, actor="ada") as client:
        yield client


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that requires a token, with the models spx-1 and ndx-1."""
    running = RunningServer(Settings(port=0, data_dir=tmp_path_factory.mktemp("data"), auth=True))
    with Client(running.target, token=token_of(running, "root", Role.ADMIN)) as client:
        for model in ("spx-1", "ndx-1"):
            client.create_model(model)
    yield running
    running.stop()


@pytest.fixture
async def stranger(guarded: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has not signed in."""
    async with browsing(guarded) as browser:
        yield browser


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """People of several roles and functions, on a server that authenticates them."""
    folder = tmp_path_factory.mktemp("data")
    key = write_key(folder)
    trusted = (str(key.with_suffix(".pub")),)
    with running_desk(folder, signing_key=str(key), trusted_evidence_keys=trusted) as made:
        yield made


@pytest.fixture
async def at_desk(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the desk's console, in which nobody has signed in."""
    async with browsing(desk.running) as browser:
        yield browser


async def sign_in(browser: httpx.AsyncClient, token: str, after: str = "/models/spx-1") -> httpx.Response:
    return await browser.post("/login", data={"token": token, "next": after}, headers={"origin": ADDRESS})

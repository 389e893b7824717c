"""A real server in this process, and both clients on it."""

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow  # noqa: F401 - else a server's thread imports it, and pandas, while a test looks at half of them
import pytest
from sqlalchemy import NullPool, create_engine

from modelward import AsyncClient, Client
from modelward_server.app import App
from modelward_server.settings import Settings
from tests.postgres import NOT_INSTALLED, programs, running_postgres

for _name in [name for name in os.environ if name.upper().startswith("MODELWARD_")]:
    if not _name.startswith("MODELWARD_TEST_"):
        del os.environ[_name]  # A setting of a real server that whoever runs the tests may have.


class RunningServer:
    """A server in a thread of its own, as it is in production but for the process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = App(settings)
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.target = f"127.0.0.1:{self._started.result()}"

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._started.set_result(await self.app.start())
        except BaseException as error:
            self._started.set_exception(error)
            raise
        await self._stopping.wait()
        await self.app.stop()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


PAIRS = {("sqlite", "sync"), ("postgresql", "async")}
"""Which client is tried on which database, where a test is for both: that a client is sync makes no difference to the
database, and the sync client is derived from the async one. `MODELWARD_TEST_SCALE=full` tries all four."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out pairs that tell nothing more."""
    if os.environ.get("MODELWARD_TEST_SCALE") == "full" or programs() is None:
        return
    left_out = [item for item in items if _pair(item) not in PAIRS | {None}]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _pair(item) in PAIRS | {None}]


def _pair(item: pytest.Item) -> tuple[str, str] | None:
    """Return the database and the client of a test that has one of each."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    return (given["database_url"], given["client"]) if given.keys() >= {"database_url", "client"} else None


@pytest.fixture(scope="session")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the server may read from."""
    return tmp_path_factory.mktemp("inbox")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, for tests of storage."""
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip(NOT_INSTALLED)
    with running_postgres(bin_dir) as url:
        yield url


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The ledger's database: SQLite in the data folder, and PostgreSQL where it is installed."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres")
    return new_database(url)


def new_database(url: str) -> str:
    """Create an empty database on a PostgreSQL server and return its URL."""
    name = f"test_{uuid4().hex}"
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return f"{url}/{name}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, inbox: Path, database_url: str) -> Iterator[RunningServer]:
    """The server that most tests share, on each database; each test uses names of its own."""
    settings = Settings(
        port=0,
        data_dir=tmp_path_factory.mktemp("data"),
        database_url=database_url,
        allowed_sources=(f"file://{inbox}", "runs:/", "models:/"),
    )
    running = RunningServer(settings)
    yield running
    running.stop()


class Either:
    """One client behind one face: what it returns is awaited, and what it iterates over is collected.

    So a test is written once and runs against the sync and the async client.
    """

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if isinstance(self.client, AsyncClient):
                return await _settled(method(*args, **kwargs))
            return await asyncio.to_thread(lambda: _collected(method(*args, **kwargs)))

        return call


async def _settled(result: Any) -> Any:
    if inspect.isasyncgen(result):
        return [item async for item in result]
    return await result


def _collected(result: Any) -> Any:
    return list(result) if inspect.isgenerator(result) else result


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, server: RunningServer) -> AsyncIterator[Either]:
    """A client of the shared server, of each kind."""
    if request.param == "async":
        async with AsyncClient(server.target, actor="tester") as client:
            yield Either(client)
    else:
        with Client(server.target, actor="tester") as client:
            yield Either(client)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model's name that no other test uses."""
    plain = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return f"{plain.strip('-')[:100]}-{uuid4().hex[:8]}"

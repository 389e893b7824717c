"""A server that answers what it should not, and both clients on it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from modelward import AsyncClient, Client
from tests.support.clients import as_async
from tests.support.misbehaving_server import MisbehavingServer, misbehaving_server
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture
def odd() -> Iterator[MisbehavingServer]:
    with misbehaving_server() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
async def asking(request: pytest.FixtureRequest, odd: MisbehavingServer) -> AsyncIterator[AsyncClient]:
    """A client of each kind, on the odd server."""
    async with _client(request.param, odd.target, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture(params=["sync", "async"])
async def hasty(request: pytest.FixtureRequest, odd: MisbehavingServer) -> AsyncIterator[AsyncClient]:
    """The same, for calls that are to come to nothing: it waits a second."""
    async with _client(request.param, odd.target, timeout=1) as client:
        yield client


@asynccontextmanager
async def _client(kind: str, target: str, timeout: float) -> AsyncIterator[AsyncClient]:
    if kind == "async":
        async with AsyncClient(target, timeout=timeout, actor="tester") as client:
            yield as_async(client)
    else:
        with Client(target, timeout=timeout, actor="tester") as other:
            yield as_async(other)

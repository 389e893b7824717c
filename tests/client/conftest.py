"""A server that answers what it should not, and both clients on it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from modelward import AsyncClient, Client
from tests.client.odd_server import OddServer, odd_server
from tests.conftest import Either


@pytest.fixture
def odd() -> Iterator[OddServer]:
    with odd_server() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
async def asking(request: pytest.FixtureRequest, odd: OddServer) -> AsyncIterator[Either]:
    """A client of each kind, on the odd server."""
    if request.param == "async":
        async with AsyncClient(odd.target, timeout=1, actor="tester") as client:
            yield Either(client)
    else:
        with Client(odd.target, timeout=1, actor="tester") as client:
            yield Either(client)

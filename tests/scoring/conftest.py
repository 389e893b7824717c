"""A server that scores, and clients on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from modelward import AsyncClient, Client
from modelward_server.settings import Settings
from tests.support.clients import as_async
from tests.support.running_server import RunningServer


@pytest.fixture(scope="module")
def scoring_settings() -> dict[str, object]:
    """Settings of the server, which a module may replace."""
    return {}


@pytest.fixture(scope="module")
def scoring_server(
    tmp_path_factory: pytest.TempPathFactory, scoring_settings: dict[str, object]
) -> Iterator[RunningServer]:
    given = {"scoring_processes": 32, "allow_pickle": True, "sandbox_seconds": 5, **scoring_settings}
    running = RunningServer(Settings.model_validate({"port": 0, "data_dir": tmp_path_factory.mktemp("data"), **given}))
    yield running
    running.stop()


@pytest.fixture(params=["sync", "async"])
async def scorer(request: pytest.FixtureRequest, scoring_server: RunningServer) -> AsyncIterator[AsyncClient]:
    """Both clients, with the face of the async one."""
    if request.param == "async":
        async with AsyncClient(scoring_server.target, actor="tester") as client:
            yield client
    else:
        with Client(scoring_server.target, actor="tester") as client:
            yield as_async(client)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path

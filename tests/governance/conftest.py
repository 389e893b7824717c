"""Fixtures of the tests of governance."""

from collections.abc import Iterator

import pytest

from modelward_server.settings import Settings
from tests.support.desk import Desk
from tests.support.running_server import RunningServer


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    running = RunningServer(Settings(port=0, data_dir=tmp_path_factory.mktemp("data"), auth=True))
    made = Desk(running)
    yield made
    for client in made.clients.values():
        client.close()
    running.stop()

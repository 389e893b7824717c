"""A server behind every way by which data come in."""

from collections.abc import Iterator

import pytest

from modelward_server.settings import Settings
from tests.support.column_kinds import Door
from tests.support.running_server import RunningServer


@pytest.fixture(scope="package")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("kinds")
    settings = Settings(port=0, data_dir=tmp_path_factory.mktemp("data"), allowed_sources=(folder.as_uri(),))
    server = RunningServer(settings)
    door = Door(server, folder)
    yield door
    door.client.close()
    server.stop()

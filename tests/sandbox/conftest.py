"""A server that runs pickles, at each level of confinement."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelward_server.comparison.process import NURSERIES
from modelward_server.sandbox import level
from modelward_server.settings import Settings
from tests.conftest import RunningServer


@pytest.fixture(scope="session")
def database_url() -> str:
    return ""


@pytest.fixture(scope="module", params=["bubblewrap", "landlock"])
def confinement(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each level that works on this machine: that of bubblewrap, and that where it is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "landlock":
            patch.setattr(level, "bubblewrap", lambda: None)
        _start_anew()
        if request.param not in str(level.level()).lower():
            pytest.skip(f"there is no {request.param} here")
        yield request.param
    _start_anew()


def _start_anew() -> None:
    level.level.cache_clear()
    for nursery in NURSERIES.values():
        nursery.close()


@dataclass(frozen=True)
class Target:
    """A server, and what an attacker would like to reach of it."""

    server: RunningServer
    data: Path
    unix: str
    abstract: str

    @property
    def port(self) -> int:
        return int(self.server.target.rpartition(":")[2])


@pytest.fixture(scope="module")
def target(confinement: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data = tmp_path_factory.mktemp("data")
    settings = Settings(port=0, data_dir=data, allow_pickle=True, worker_seconds=20, worker_memory_mb=256)
    running = RunningServer(settings)
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as abstract:
        for listening, place in ((named, str(data / "socket")), (abstract, f"\0{data.name}-{confinement}")):
            listening.bind(place)
            listening.listen()
        yield Target(running, data, named.getsockname(), abstract.getsockname().decode())
    running.stop()

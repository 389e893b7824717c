"""A server that runs pickles, at each level of confinement."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from modelward_server.sandbox import level
from modelward_server.sandbox.sandbox_process import close_fork_servers
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer


@pytest.fixture(scope="session")
def database_url() -> str:
    return ""


@pytest.fixture(scope="module", params=["bubblewrap", "landlock", "landlock, as the server's user"])
def confinement(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each level: with bubblewrap, as where that is not installed, and as where the server is not root besides."""
    wanted, _, shared = request.param.partition(", ")
    with pytest.MonkeyPatch.context() as patch:
        if wanted == "landlock":
            patch.setattr(level, "bubblewrap", lambda: None)
        if shared:
            patch.setattr(level, "may_switch_user", lambda: False)
        _start_anew()
        if not level.level().parts[wanted]:
            pytest.skip(f"there is no {wanted} here")
        yield request.param
    _start_anew()


def _start_anew() -> None:
    level.level.cache_clear()
    close_fork_servers()


@dataclass(frozen=True)
class Target:
    """A server, and what an attacker would like to reach of it."""

    server: RunningServer
    data: Path
    unix: str
    abstract: str
    datagram: str

    @property
    def port(self) -> int:
        return int(self.server.target.rpartition(":")[2])


@pytest.fixture(scope="module")
def target(confinement: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data = tmp_path_factory.mktemp("data")
    settings = Settings(port=0, data_dir=data, allow_pickle=True, sandbox_seconds=20, sandbox_memory_mb=256)
    running = RunningServer(settings)
    with ExitStack() as stack:
        places = [str(data / "socket"), f"\0{data.name}-{uuid4()}", str(data / "datagrams")]
        for place, kind in zip(places, (socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM), strict=True):
            listening = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            listening.bind(place)
            if kind is socket.SOCK_STREAM:
                listening.listen()
        yield Target(running, data, *places)
    running.stop()

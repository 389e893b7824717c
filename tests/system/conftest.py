"""Servers in processes of their own; whatever a test does, none is left behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.forked_server import ForkedServer

Serve = Callable[..., ForkedServer]


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.system)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Give a function that starts a server on a data folder."""
    started: list[ForkedServer] = []

    def start(*flags: str, data_dir: Path = tmp_path / "data", env: dict[str, str] | None = None) -> ForkedServer:
        started.append(ForkedServer(data_dir, tmp_path / f"server-{len(started)}.log", *flags, env=env))
        return started[-1]

    yield start
    for served in started:
        served.kill()

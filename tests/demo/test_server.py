"""The demo's own server ends with the demo, and a failure says why."""

import socket
from pathlib import Path

import pytest

from modelward import Client
from modelward.demo import run
from modelward.demo.server import ServerFailedError, running_server


def test_the_server_serves_for_the_time_of_the_block_only(tmp_path: Path) -> None:
    with running_server(tmp_path) as target, Client(target) as client:
        assert list(client.list_models()) == []
    assert not _answers(target)


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(ServerFailedError, match="unable to open database"), running_server(tmp_path):
        pass


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").touch()
    assert run(tmp_path) == 1
    assert "is not empty" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def _answers(target: str) -> bool:
    host, port = target.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0

"""The demo's own server ends with the demo, and a failure says why."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from modelward import Client
from modelward.demo import run
from modelward.demo.server import ServerFailedError, running_server
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system


def test_the_server_serves_for_the_time_of_the_block_only(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, Client(server.target) as client:
        assert list(client.list_models()) == []
        assert "There is no model yet" in httpx.get(server.console).text
    assert not _answers(server.target)
    assert not _answers(server.console.removeprefix("http://"))


@pytest.mark.weekly
def test_the_server_does_not_touch_the_database_of_a_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWARD_DATABASE_URL", f"sqlite:///{tmp_path / 'real.db'}")
    with running_server(tmp_path / "demo") as server, Client(server.target) as client:
        client.create_model("spx")
    assert (tmp_path / "demo" / "ledger.db").exists()
    assert not (tmp_path / "real.db").exists()


def test_a_demo_that_is_told_to_stop_leaves_no_server_and_no_folder(tmp_path: Path) -> None:
    command, env = [sys.executable, "-m", "modelward", "demo"], os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as demo:
        target = _told_target(demo)
        assert _answers(target)
        demo.terminate()
        demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 128 + signal.SIGTERM
    assert not _answers(target)
    assert not list(tmp_path.glob("modelward-demo-*"))


def _told_target(demo: "subprocess.Popen[str]") -> str:
    """Return the address that the demo's first sentence names."""
    assert demo.stdout
    found = re.search(r"is running on (\S+),", demo.stdout.readline())
    assert found
    return found[1]


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(ServerFailedError, match="unable to open database"), running_server(tmp_path):
        pass


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").touch()
    assert run(tmp_path) == 1
    assert "is not empty" in " ".join(capsys.readouterr().out.split())  # A long path is broken into lines.
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def _answers(target: str) -> bool:
    host, port = target.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0

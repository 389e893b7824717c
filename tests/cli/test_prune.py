"""The command that deletes the files of archived versions."""

from pathlib import Path

import pytest

from modelward import Client
from tests.cli.conftest import Commands
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.


def test_files_of_an_archived_version_are_deleted(
    commands: Commands, server: RunningServer, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(name.encode())
    with Client(server.target) as client:
        version = client.register(name, tmp_path / "model.bin")
        client.promote(version, to="archived")
    said = commands.said("prune", f"{name}/1", "--reason", "superseded")
    assert said == f"the files of {name}/1 are deleted; the server frees their space within an hour\n"
    assert "superseded" in commands.said("show", f"{name}/1")

"""What a server keeps is for its own user only, whatever the umask is."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelward import Client
from modelward_server.app import App
from modelward_server.backup import back_up
from modelward_server.sandbox.scratch import next_user, share
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.private_files import make_private_folder, private_umask
from tests.support.server_process import ServerProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.system


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The umask of somebody who shares all."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Return what others may do with a folder, and with what is in it."""
    modes = {str(path): path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    return {path: stat.filemode(mode) for path, mode in modes.items() if mode & 0o077}


def test_all_that_a_server_writes_is_for_its_user_only(open_umask: None, tmp_path: Path) -> None:
    served = ServerProcess(tmp_path / "data", tmp_path / "log")
    try:
        with Client(served.target) as client:
            version = client.register("spx", "README.md", reference={"a": [1.0, 2.0] * 20})
            client.detect_drift(version, {"a": [1.0, 2.0] * 20})
            eventually(lambda: bool(client.get_version(version).mlflow_version))
        assert open_to_others(tmp_path / "data") == {}
        names = {path.name for path in (tmp_path / "data").iterdir()}
        assert {"ledger.db", "ledger.db-wal", "mlflow.db", "mlflow-artifacts", "blobs"} <= names
        back_up(Settings(data_dir=tmp_path / "data"), tmp_path / "copy")
        assert open_to_others(tmp_path / "copy") == {}
    finally:
        served.stop()


def test_commands_make_private_files_before_any_server_did(open_umask: None, tmp_path: Path) -> None:
    with admin_session(Settings(data_dir=tmp_path / "data")):
        assert open_to_others(tmp_path / "data") == {}


def test_folders_of_an_earlier_version_are_taken_from_others(open_umask: None, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("blobs/aa", "blobs/incoming", "mlflow-artifacts/1"):
        (data / name).mkdir(parents=True)
    for name in ("ledger.db", "ledger.db-wal", "mlflow.db", "blobs/aa/aa00", "mlflow-artifacts/1/model.bin"):
        (data / name).touch()
    (tmp_path / "other").touch()
    (data / "blobs" / "link").symlink_to(tmp_path / "other")
    make_private_folder(data)
    (data / "blobs" / "link").unlink()
    assert open_to_others(data) == {}
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o666


def test_a_folder_with_more_in_it_is_left_and_told(
    open_umask: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in ("ledger.db", "holiday.jpg"):
        (folder / name).touch()
    with caplog.at_level(logging.WARNING):
        make_private_folder(folder)
    assert set(open_to_others(folder)) == {str(folder), str(folder / "holiday.jpg")}
    assert "chmod 700" in caplog.text


def test_replicas_share_a_private_folder_of_blobs(open_umask: None, tmp_path: Path) -> None:
    first, second = (
        App(Settings(data_dir=tmp_path / name, blobs_dir=str(tmp_path / "blobs"))) for name in ("one", "two")
    )
    sha256 = BlobStore(tmp_path / "blobs").put_bytes(b"weights")
    assert BlobStore(tmp_path / "blobs").read_bytes(sha256) == b"weights"
    assert open_to_others(tmp_path / "blobs") == {}
    for app in (first, second):
        app.ledger.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another group")
def test_what_a_model_is_given_is_for_its_own_group_under_the_umask_of_servers(tmp_path: Path) -> None:
    with private_umask():
        (tmp_path / "model.onnx").write_bytes(b"model")
    share(tmp_path, user := next_user())
    for path, mode in ((tmp_path, 0o750), (tmp_path / "model.onnx", 0o640)):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (mode, user)

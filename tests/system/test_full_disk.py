"""A disk without room: models are halted, resumed and rolled back all the same, and nothing else takes that room."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from modelward import Client
from modelward.errors import LimitReached
from modelward_server.storage import disk_reserve
from modelward_server.storage.disk_reserve import DiskReserve
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS

Serve = Callable[..., ForkedServer]
DISK_BYTES = 16 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill_up(path: Path) -> None:
    """Take all room that is left, to the last page."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def model_file(folder: Path) -> Path:
    path = folder / "model.bin"
    path.write_bytes(uuid4().bytes)
    return path


def _register_much(client: Client, tmp_path: Path) -> None:
    for _ in range(500):  # Until the pages that SQLite's log has already are used up.
        client.register("spx", model_file(tmp_path), description="x" * 9_000)


def refused_for_want_of_room(client: Client, tmp_path: Path) -> None:
    with pytest.raises(LimitReached) as full:
        _register_much(client, tmp_path)
    assert full.value.metadata == {"limit": "disk"}


def test_a_full_disk_lets_models_be_halted_resumed_and_rolled_back(
    serve: Serve, small_disk: Path, tmp_path: Path
) -> None:
    server = serve("--grace-seconds", "1", data_dir=small_disk / "data")
    with Client(server.target, timeout=PATIENCE_SECONDS) as client:
        for version in (1, 2):
            client.register("spx", model_file(tmp_path))
            client.promote(f"spx/{version}", to="staging")
            client.promote(f"spx/{version}", to="production", reason="it passed its tests")
        ballast = small_disk / "ballast"
        fill_up(ballast)
        refused_for_want_of_room(client, tmp_path)
        for turn in range(3):
            client.halt("spx", reason=f"the disk is full, {turn}")
            assert client.get_model("spx").halt is not None
            fill_up(ballast)  # What is left over of the reserve goes to others.
            client.resume("spx", reason=f"and we trade, {turn}")
            fill_up(ballast)
        client.rollback("spx", reason="the new one is worse")
        assert client.resolve("spx").version.version == 1
        refused_for_want_of_room(client, tmp_path)
        ballast.unlink()
        client.update_model("spx", description="there is room again")
        assert client.verify_audit_log().intact
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def test_the_reserve_is_given_back_in_steps_and_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = DiskReserve(tmp_path / "reserve")
    kept.refill()
    assert (tmp_path / "reserve").stat().st_blocks * 512 == disk_reserve.RESERVE_BYTES
    assert kept.release() == disk_reserve.STEP_BYTES
    kept.refill()  # Too soon to look again.
    assert (tmp_path / "reserve").stat().st_size == disk_reserve.RESERVE_BYTES - disk_reserve.STEP_BYTES
    monkeypatch.setattr(disk_reserve, "REFILL_SECONDS", 0)
    kept.refill()
    assert (tmp_path / "reserve").stat().st_size == disk_reserve.RESERVE_BYTES
    while kept.release():
        pass
    assert (tmp_path / "reserve").stat().st_size == 0


def test_a_reserve_for_which_there_is_no_place_holds_up_nobody(tmp_path: Path) -> None:
    kept = DiskReserve(tmp_path / "nowhere" / "reserve")
    kept.refill()
    assert kept.release() == 0

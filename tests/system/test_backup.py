"""A backup that is made under load is whole, and a server starts on it elsewhere, as the documentation says."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelward import Client, VersionRef
from modelward_server.settings import Settings
from tests.support.postgres import new_database
from tests.support.running_server import RunningServer
from tests.support.server_process import bare_environment
from tests.support.waiting import PATIENCE_SECONDS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
BACK_UP, RESTORE, LOOK = re.findall(
    r"```sh\n(.*?)```", DOCUMENT.partition("## Backup and restore")[2].partition("\n## ")[0], re.DOTALL
)
INTO_POSTGRESQL = re.findall(r"^    (pg_restore .*)$", DOCUMENT, re.MULTILINE)[0]
EXAMPLE = "postgresql://db/modelward"
AS_MODULE = f'set -e; modelward() {{ "{sys.executable}" -m modelward "$@"; }}\n'
PAUSE_SECONDS = 0.2
"""Between two registrations: each one is work for MLflow, here and at the end."""


@pytest.fixture
def database(database_url: str, request: pytest.FixtureRequest) -> str:
    """An empty database of the test's own."""
    return new_database(request.getfixturevalue("postgres")) if database_url else ""


class Writer:
    """Registers version after version, each with files of its own, and moves and measures them."""

    def __init__(self, target: str, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self.acknowledged: list[VersionRef] = []
        self._work = self._pool.submit(self._write)

    def end(self) -> None:
        self._ended.set()
        self._work.result(PATIENCE_SECONDS)

    def wait_for(self, more: int) -> None:
        wanted, deadline = len(self.acknowledged) + more, time.monotonic() + PATIENCE_SECONDS
        while len(self.acknowledged) < wanted and not self._work.done():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _write(self) -> None:
        with Client(self._target, timeout=PATIENCE_SECONDS) as client:
            while not self._ended.wait(PAUSE_SECONDS):
                content = f"weights {len(self.acknowledged)}".encode() * 10_000
                (self._folder / "model.bin").write_bytes(content)
                version = client.register("spx", self._folder / "model.bin", metrics={"accuracy": 0.5})
                client.promote(version, to="staging")
                client.promote(version, to="production", reason="it passed its tests")
                self.acknowledged.append(version.ref)


def run(commands: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-c", AS_MODULE + commands],
        env=bare_environment() | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def source(tmp_path: Path, database: str) -> Iterator[RunningServer]:
    running = RunningServer(
        Settings(port=0, data_dir=tmp_path / "my-registry", database_url=database, blobs_dir=str(tmp_path / "shared"))
    )
    yield running
    running.stop()


@pytest.mark.weekly("postgresql")
def test_backup_under_load_is_whole_and_a_server_starts_on_it(
    source: RunningServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = source.settings
    environment = {"MODELWARD_BLOBS_DIR": settings.blobs_dir, "MODELWARD_DATABASE_URL": settings.database_url}
    writer = Writer(source.target, tmp_path)
    writer.wait_for(3)
    first = run(BACK_UP, tmp_path, **environment)
    writer.wait_for(3)
    before = list(writer.acknowledged)
    second = run(BACK_UP, tmp_path, **environment)
    writer.end()
    assert _figures(first)[0] == _figures(first)[1]
    assert 3 <= _figures(second)[1] < _figures(second)[0]
    run(RESTORE, tmp_path)
    database = new_database(request.getfixturevalue("postgres")) if settings.database_url else ""
    if database:
        run(INTO_POSTGRESQL.replace(EXAMPLE, database.replace("+psycopg", "")), tmp_path)
    again = RunningServer(Settings(port=0, data_dir=tmp_path / "restored", database_url=database))
    with Client(again.target) as client:
        kept = list(client.list_versions("spx"))[::-1]
        assert [version.ref for version in kept][: len(before)] == before
        for version in kept:
            client.download(version, tmp_path / "back" / str(version.version))
        assert client.verify_audit_log().intact
        assert "intact" in run(LOOK, tmp_path, MODELWARD_SERVER=again.target)
        assert client.register("spx", tmp_path / "model.bin").version == len(kept) + 1
    again.stop()


def _figures(said: str) -> tuple[int, int]:
    """Return how many files a copy has, and how many of them are new."""
    found = re.search(r" and ([\d,]+) files, ([\d,]+) of them new$", said.strip())
    assert found, said
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def test_damaged_file_is_named_and_keeps_no_other_back(tmp_path: Path) -> None:
    source = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    writer = Writer(source.target, tmp_path)
    writer.wait_for(2)
    writer.end()
    source.stop()
    damaged, *others = sorted((tmp_path / "data" / "blobs").glob("??/*"))
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    command = [
        sys.executable,
        "-m",
        "modelward",
        "backup",
        str(tmp_path / "copy"),
        "--data-dir",
        str(tmp_path / "data"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=os.environ
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{damaged} is damaged, its SHA-256 is ")
    copied = {path.name for path in (tmp_path / "copy" / "blobs").glob("??/*")}
    assert {path.name for path in others} <= copied
    assert damaged.name not in copied


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--database-url", "postgresql+psycopg://ada:secret@127.0.0.1:1/ledger"], "127.0.0.1"),
        ([], "there is no database "),
    ],
)
def test_database_that_cannot_be_copied_is_said(flags: list[str], words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelward", "backup", str(tmp_path / "copy"), "--data-dir", str(tmp_path), *flags]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=bare_environment()
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr

"""A PostgreSQL server of the tests' own, where its programs are installed."""

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from sqlalchemy import NullPool, create_engine

from tests.support.ports import free_port

DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.system))
"""What the ledger is kept in, as the parameters of a fixture or a test."""
NOT_INSTALLED = "PostgreSQL's programs (initdb, postgres) are not installed"


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest where there are several."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


class Postgres:
    """A server that can be stopped and started again.

    Attributes:
        url: the SQLAlchemy URL of the server, without a database.
    """

    def __init__(self, bin_dir: Path, folder: Path, *, fsync: bool = False) -> None:
        self._bin_dir, self._folder, self._port = bin_dir, folder, free_port()
        self._fsync = "on" if fsync else "off"
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self._port}"
        _run(bin_dir / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D", folder / "data")

    def start(self) -> None:
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync={self._fsync}"
        self._control("-o", options, "-l", self._folder / "log", "start")

    def stop(self) -> None:
        """End it at once, with every connection."""
        self._control("-m", "immediate", "stop")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop every process of it, as a debugger does or a machine that is paused; connections stay open."""
        postmaster = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)  # From here on it starts no other.
        processes = [*map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()), postmaster]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def _control(self, *arguments: object) -> None:
        _run(self._bin_dir / "pg_ctl", "-D", self._folder / "data", "-w", *arguments)


@contextmanager
def controlled_postgres(bin_dir: Path, *, fsync: bool = False) -> Iterator[Postgres]:
    """Run a cluster in a temporary folder."""
    with TemporaryDirectory(prefix="modelward-pg") as folder:
        if getpass.getuser() == "root":
            shutil.chown(folder, "postgres")
        postgres = Postgres(bin_dir, Path(folder), fsync=fsync)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()


@contextmanager
def running_postgres(bin_dir: Path, *, fsync: bool = False) -> Iterator[str]:
    """Run a cluster and give the SQLAlchemy URL of its server, without a database."""
    with controlled_postgres(bin_dir, fsync=fsync) as postgres:
        yield postgres.url


def new_database(url: str) -> str:
    """Create an empty database on a PostgreSQL server and return its URL."""
    name = f"test_{uuid4().hex}"
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return f"{url}/{name}"


def _run(*command: object) -> None:
    # PostgreSQL refuses to run as root.
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")

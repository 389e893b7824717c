"""A PostgreSQL server of the tests' own, where its programs are installed."""

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

NOT_INSTALLED = "PostgreSQL's programs (initdb, postgres) are not installed"


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest where there are several."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@contextmanager
def running_postgres(bin_dir: Path) -> Iterator[str]:
    """Run a cluster in a temporary folder and give the SQLAlchemy URL of its server, without a database."""
    with TemporaryDirectory(prefix="modelward-pg") as folder:
        if getpass.getuser() == "root":
            shutil.chown(folder, "postgres")
        data, port = Path(folder, "data"), _free_port()
        _run(bin_dir / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D", str(data))
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        _run(bin_dir / "pg_ctl", "-D", str(data), "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}"
        finally:
            _run(bin_dir / "pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


def _run(*command: object) -> None:
    # PostgreSQL refuses to run as root.
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

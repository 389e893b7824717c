"""How much memory does an evidence pack of many versions take, in the server and in the client?

    python benchmarks/evidence_memory.py [--versions 100 1000]

Ours: `modelward serve` with a signing key in a process of its own, models with one version in production each, and a
pack of all of them. Printed is by how much the peak of resident memory of both processes grew, for each number of
versions. Packs of 10 versions are made before, so that libraries that are imported once do not count. MLflow is not
there, so that the mirror of the versions takes little memory meanwhile.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memory import _forget_peak, _peak
from rich.console import Console
from rich.table import Table

from modelward import AsyncClient, Client
from modelward.evidence.verify import verify_pack

AT_ONCE = 32
"""How many models are registered at a time."""
WARM_UP = 10, 10, 10
"""The versions of packs that do not count."""
NO_MLFLOW = "http://127.0.0.1:9"
MB = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", type=int, nargs="+", default=[100, 1000], help="ascending numbers of versions")
    numbers = parser.parse_args().versions
    with tempfile.TemporaryDirectory() as name, _served(Path(name)) as (target, pid):
        rows = []
        for row in _measured(target, pid, Path(name), numbers):
            print(f"{row[0]} versions: server grew by {row[4]:.1f} MiB, load {os.getloadavg()[0]:.1f}", flush=True)
            rows.append(row)
    table = Table("versions", "files", "pack MB", "seconds", "server grew by MiB", "client grew by MiB")
    for row in rows:
        table.add_row(str(row[0]), f"{row[1]:,}", *(f"{value:,.1f}" for value in row[2:]))
    Console().print(table)
    first, last = rows[0], rows[-1]
    print(
        f"{last[0] / first[0]:g} times the versions: server {last[4] / first[4]:.2f}, client {last[5] / first[5]:.2f}"
    )
    print("load", os.getloadavg())


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, int]]:
    key, log = folder / "key.pem", folder / "log"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    flags = ["--port", "0", "--data-dir", str(folder / "data"), "--signing-key", str(key), "--mlflow-uri", NO_MLFLOW]
    serve = [sys.executable, "-m", "modelward", "serve", *flags]
    with log.open("wb") as sink, subprocess.Popen(serve, stdout=sink, stderr=sink) as server:
        try:
            yield _address(log), server.pid
        finally:
            server.terminate()


def _address(log: Path) -> str:
    """Return where the server listens, once it says so; a busy machine takes more than a minute to start it."""
    for _ in range(1800):
        if found := re.search(r"listens on (127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise TimeoutError(f"the server printed no port:\n{log.read_text()}")


def _measured(
    target: str, pid: int, folder: Path, numbers: list[int]
) -> Iterator[tuple[int, int, float, float, float, float]]:
    """Yield versions, files, the pack's size in MB, seconds, and by how many MiB server and client grew."""
    done = 0
    with Client(target, timeout=3600) as client:
        for place, number in enumerate([*WARM_UP, *numbers]):
            asyncio.run(_fill(target, folder, done, number))
            done, pack = number, folder / f"{number}.zip"
            server, own, begun = _forget_peak(pid), _forget_peak(os.getpid()), time.monotonic()
            client.export_evidence(None, pack)
            seconds, grew = time.monotonic() - begun, (_peak(pid) - server, _peak(os.getpid()) - own)
            found = verify_pack(pack)
            assert found.intact, found.defects
            assert len(found.versions) == number
            if place >= len(WARM_UP):
                yield number, found.files, pack.stat().st_size / MB, seconds, *grew
            pack.unlink()


async def _fill(target: str, folder: Path, first: int, last: int) -> None:
    """Register models with a small file, and bring them into production."""
    turn = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(target, timeout=600) as client:

        async def add(number: int) -> None:
            async with turn:
                file = folder / f"model-{number}.bin"
                file.write_bytes(os.urandom(1000))
                version = await client.register(f"model-{number:05d}", file, collect_lineage=False)
                await client.promote(version, to="staging")
                await client.promote(version, to="production", reason="it passed its tests")
                file.unlink()

        await asyncio.gather(*(add(number) for number in range(first, last)))


if __name__ == "__main__":
    main()

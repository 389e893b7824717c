"""A large model, there and back: an MLflow server that proxies artifacts, and Modelward's, in one run. Linux only.

    python benchmarks/transfers.py [--gigabytes 2]

Peer: `mlflow server --serve-artifacts` with one worker, by `MlflowClient.log_artifact` and `download_artifacts` over
`mlflow-artifacts:/`. Ours: `modelward serve`, by `Client.register`, which also hashes the file, and `Client.download`,
which verifies it. Each client is a process of its own. Memory is the highest resident set during a transfer, less what
there was before it.
"""

import argparse
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resolve import _free_port, _wait_for
from rich.console import Console
from rich.table import Table

TIMEOUT = 3600.0
MB = 1_000_000


@dataclass(frozen=True)
class Transfer:
    """What one direction took."""

    rate: float
    """Megabytes a second."""
    client_mb: float
    """By how much the client's memory grew at the most."""
    server_mb: float
    """By how much the memory of the server's processes grew at the most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the model")
    size_mb = int(parser.parse_args().gigabytes * 1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_model(folder / "small", 1)
        _write_model(folder / "large", size_mb)
        copied = _copy(folder / "large" / "model.bin", size_mb)
        peer = _measure(_mlflow_server, _mlflow_upload, lambda _: True, _mlflow_download, folder, size_mb)
        ours = _measure(_modelward_server, _modelward_upload, _shown_in_mlflow, _modelward_download, folder, size_mb)
    table = Table("way", "server", "MB/s", "client grew, MB", "server grew, MB")
    for way, theirs, own in zip(("up", "down"), peer, ours, strict=True):
        for server, one in (("MLflow", theirs), ("ours", own)):
            table.add_row(way, server, f"{one.rate:,.0f}", f"{one.client_mb:,.0f}", f"{one.server_mb:,.0f}")
        table.add_row(way, "ratio of the rates", f"{own.rate / theirs.rate:.2f}")
    Console().print(f"one file of {size_mb:,} MB; a plain copy of it: {copied:,.0f} MB/s", table)


def _write_model(folder: Path, size_mb: int) -> None:
    folder.mkdir()
    with (folder / "model.bin").open("wb") as file:
        for _ in range(size_mb):
            file.write(os.urandom(MB))


def _copy(path: Path, size_mb: int) -> float:
    """Return the megabytes a second of a copy on this disk: nothing can be faster that stores a file."""
    begun = time.perf_counter()
    with path.open("rb") as source, path.with_name("plain").open("wb") as target:
        while data := source.read(MB):  # Not by the kernel's own copying, which may only link.
            target.write(data)
    path.with_name("plain").unlink()
    return size_mb / (time.perf_counter() - begun)


Serving = Callable[[Path, int], list[str]]
Work = Callable[[str, Path], None]


def _measure(
    serving: Serving, upload: Work, settled: Callable[[str], bool], download: Work, folder: Path, size_mb: int
) -> tuple[Transfer, Transfer]:
    port, data = _free_port(), folder / "server"
    data.mkdir(exist_ok=True)
    with _running(serving(data, port)) as server:
        _wait_for(lambda: _listens(port))
        small, large = folder / "small", folder / "large"
        for work in (upload, download):  # What the server imports and opens at its first call is no transfer.
            _transfer(work, f"127.0.0.1:{port}", small, server, 1)
            _wait_for(lambda: settled(f"127.0.0.1:{port}"))
        up = _transfer(upload, f"127.0.0.1:{port}", large, server, size_mb)
        _wait_for(lambda: settled(f"127.0.0.1:{port}"))
        down = _transfer(download, f"127.0.0.1:{port}", large, server, size_mb)
    for path in (data, small / "copy", large / "copy"):
        shutil.rmtree(path)
    return up, down


def _listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port)).close()
    return True


def _transfer(work: Work, target: str, folder: Path, server: int, size_mb: int) -> Transfer:
    before = _start_measuring(server)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, client_mb = pool.apply(_timed, (work, target, folder))
    return Transfer(size_mb / seconds, client_mb, _highest(server) - before)


def _timed(work: Work, target: str, folder: Path) -> tuple[float, float]:
    """Do the work in this process, and return its seconds and by how many megabytes the memory grew."""
    import mlflow  # noqa: F401 - what the libraries take is not what the transfer takes

    import modelward  # noqa: F401

    before, begun = _start_measuring(os.getpid()), time.perf_counter()
    work(target, folder)
    return time.perf_counter() - begun, _highest(os.getpid()) - before


def _start_measuring(process: int) -> float:
    """Let the highest memory of a process and its children begin anew, and return what they have, in megabytes."""
    for one in _family(process):
        Path(f"/proc/{one}/clear_refs").write_text("5")
    return _highest(process)


def _highest(process: int) -> float:
    return sum(_peak_mb(one) for one in _family(process))


def _peak_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) * 1024 / MB for line in status.splitlines() if line.startswith("VmHWM"))


def _family(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(one for child in children for one in _family(int(child)))]


def _mlflow_server(data: Path, port: int) -> list[str]:
    stores = ["--backend-store-uri", f"sqlite:///{data}/mlflow.db", "--artifacts-destination", str(data / "artifacts")]
    where = ["--port", str(port), "--workers", "1", "--serve-artifacts"]
    return [sys.executable, "-m", "mlflow", "server", *where, *stores]


def _mlflow_upload(target: str, folder: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"http://{target}")
    run = client.create_run("0").info.run_id
    client.log_artifact(run, str(folder / "model.bin"))


def _mlflow_download(target: str, folder: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"http://{target}")
    run = client.search_runs(["0"])[0]  # The latest.
    (folder / "copy").mkdir()
    client.download_artifacts(run.info.run_id, "model.bin", str(folder / "copy"))


def _modelward_server(data: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(data)]


def _modelward_upload(target: str, folder: Path) -> None:
    from modelward import Client

    with Client(target, timeout=TIMEOUT) as client:
        client.register("model", folder / "model.bin")


def _shown_in_mlflow(target: str) -> bool:
    """Tell whether the server has ended its work for MLflow, which would disturb what is measured next."""
    from modelward import Client

    with Client(target) as client:
        if all(version.mlflow_version for version in client.list_versions("model")):
            return True
    raise BlockingIOError


def _modelward_download(target: str, folder: Path) -> None:
    from modelward import Client

    with Client(target, timeout=TIMEOUT) as client:
        client.download(next(iter(client.list_versions("model"))), folder / "copy")


@contextmanager
def _running(command: list[str]) -> Iterator[int]:
    """Run a server; give its process id."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, **quiet) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


if __name__ == "__main__":
    main()

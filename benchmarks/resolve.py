"""Which version is in production? An MLflow server, Modelward's, and its follower, in one run.

    python benchmarks/resolve.py [--seconds 5]

Peer: `mlflow server` with one worker, asked over REST by alias on a kept connection. Ours: `modelward serve`, asked by
`Client.resolve`. Each is asked by 1, 8 and 32 threads; then one thread reads what a follower
holds, without the network, and beside it a dictionary.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from modelward import Client

CLIENTS = (1, 8, 32)
MODEL = "spx"
READS = 1_000_000
AT_ITS_BEST = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""MLflow without its job runners: they take every core for more than a minute after its server says it is healthy."""


@dataclass(frozen=True)
class Measured:
    """How a server answered."""

    rate: float
    """Answers a second."""
    p50: float
    """Milliseconds."""
    p99: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is asked")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        mlflow = _measure_mlflow(Path(folder, "mlflow"), seconds)
        ours, read = _measure_modelward(Path(folder, "modelward"), seconds)
    table = Table("clients", "MLflow /s", "ours /s", "ratio", "MLflow p99 ms", "ours p99 ms", "ratio")
    for clients in CLIENTS:
        peer, own = mlflow[clients], ours[clients]
        row = (peer.rate, own.rate, own.rate / peer.rate, peer.p99, own.p99, peer.p99 / own.p99)
        table.add_row(str(clients), *(f"{figure:,.1f}" for figure in row))
    held = {MODEL: object()}
    plain = timeit.timeit(lambda: held[MODEL], number=READS) / READS
    Console().print(table, f"load average {os.getloadavg()[0]:.1f}")
    Console().print(
        f"reading what a follower holds: {read * 1e9:,.0f} ns; a dictionary: {plain * 1e9:,.0f} ns; "
        f"asking MLflow: {mlflow[1].p50 * 1e6:,.0f} ns"
    )


def _measure_mlflow(folder: Path, seconds: float) -> dict[int, Measured]:
    port = _free_port()
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    with _running([*command, *stores]):
        url = f"http://127.0.0.1:{port}"
        _wait_for(lambda: requests.get(f"{url}/health", timeout=1).ok)
        api = f"{url}/api/2.0/mlflow"
        requests.post(f"{api}/registered-models/create", json={"name": MODEL}, timeout=30).raise_for_status()
        version = {"name": MODEL, "source": "s3://models/spx"}
        requests.post(f"{api}/model-versions/create", json=version, timeout=30).raise_for_status()
        alias = {"name": MODEL, "alias": "production", "version": "1"}
        requests.post(f"{api}/registered-models/alias", json=alias, timeout=30).raise_for_status()

        def asker() -> Callable[[], object]:
            session, asked = requests.Session(), {"name": MODEL, "alias": "production"}
            return lambda: session.get(f"{api}/registered-models/alias", params=asked, timeout=30).raise_for_status()

        return {clients: _ask(asker, clients, seconds) for clients in CLIENTS}


def _measure_modelward(folder: Path, seconds: float) -> tuple[dict[int, Measured], float]:
    port = _free_port()
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(folder)]
    with _running(command), Client(f"127.0.0.1:{port}", timeout=60) as client:
        folder.mkdir(exist_ok=True)
        (folder / "model.bin").write_bytes(b"model")
        version = client.register(MODEL, folder / "model.bin")
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")

        def asker() -> Callable[[], object]:
            return lambda: client.resolve(MODEL)

        measured = {clients: _ask(asker, clients, seconds) for clients in CLIENTS}
        with client.follow(MODEL, cache=folder / "cache") as live:
            return measured, timeit.timeit(lambda: live.current, number=READS) / READS


def _ask(asker: Callable[[], Callable[[], object]], clients: int, seconds: float) -> Measured:
    """Ask from several threads, each with a way of its own, for so long."""
    took: list[float] = []
    threads = [threading.Thread(target=_keep_asking, args=(asker(), seconds, took)) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cuts = statistics.quantiles(took, n=100)
    return Measured(len(took) / (time.perf_counter() - begun), cuts[49] * 1000, cuts[98] * 1000)


def _keep_asking(ask: Callable[[], object], seconds: float, took: list[float]) -> None:
    ask()
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        ask()
        took.append(time.perf_counter() - begun)


@contextmanager
def _running(command: list[str]) -> Iterator[int]:
    """Run a command, and yield its process id."""
    environment = {**os.environ, **AT_ITS_BEST}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def _wait_for(answers: Callable[[], bool]) -> None:
    for _ in range(600):
        try:
            if answers():
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("the server does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

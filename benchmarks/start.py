"""Startup time on a fresh data folder, and the latency of the first calls after it.

    python benchmarks/start.py [--runs 5] [--warm] [--without-peer]

Peer: `mlflow server` with one worker, until it answers /health. Ours: `modelward serve`, until the health service
answers `SERVING`; then the first registration, reference, drift report and comparison of two versions, each requested
as soon as the one before is done. With --warm they are requested once the server is idle, so after its warm-up. The
processor seconds of the server's process until it serves depend less on what else the machine does.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from modelward import Client

ROWS, FEATURES = 1000, 10
POLL_SECONDS = 0.01
MAX_SECONDS = 120.0
STEPS = {
    "serves": "until SERVING",
    "cpu": "the same, processor",
    "register": "first registration",
    "reference": "first reference",
    "drift": "first drift report",
    "comparison": "first comparison",
    "all": "from the start to the last answer",
}
IDLE_SECONDS = 1.0
"""A server that used less than a tenth of this time of a processor is idle."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="how often each server is started")
    parser.add_argument("--warm", action="store_true", help="wait before the calls until the server is idle")
    parser.add_argument("--without-peer", action="store_true", help="start no MLflow server")
    given = parser.parse_args()
    peer: list[float] = []
    ours: list[dict[str, float]] = []
    for _ in range(given.runs):
        if not given.without_peer:
            peer.append(_in_folder(_start_mlflow))
        ours.append(_in_folder(lambda folder: _start_modelward(folder, given.warm)))
    _print(peer, ours)


def _in_folder(measure: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder))


def _start_mlflow(folder: Path) -> float:
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    begun = time.perf_counter()
    with _running([*command, *stores], folder):
        _wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok)
        return time.perf_counter() - begun


def _start_modelward(folder: Path, warm: bool) -> dict[str, float]:
    port, random = _free_port(), np.random.default_rng(7)
    X = random.normal(size=(ROWS, FEATURES))  # noqa: N806 - as scikit-learn calls it
    y = (X[:, 0] + random.normal(size=ROWS) > 0).astype(int)
    first, second = (LogisticRegression(C=c).fit(X, y) for c in (0.01, 1.0))
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(folder / "data")]
    took: dict[str, float] = {}
    begun = time.perf_counter()
    with _running(command, folder) as process, Client(f"127.0.0.1:{port}", timeout=MAX_SECONDS) as client:
        _wait_for(lambda: _is_serving(port))
        took["serves"] = time.perf_counter() - begun
        took["cpu"] = _processor_seconds(process)
        if warm:
            _wait_until_idle(process)
        calls: dict[str, Callable[[], object]] = {
            "register": lambda: client.register("model", first),
            "reference": lambda: client.set_reference("model/1", X),
            "drift": lambda: client.detect_drift("model/1", X + 0.5),
            "second": lambda: client.register("model", second),
            "comparison": lambda: client.compare(["model/1", "model/2"], X, y),
        }
        for name, call in calls.items():
            took[name] = _seconds(call)
        took["all"] = time.perf_counter() - begun
    return took


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _processor_seconds(process: "subprocess.Popen[bytes]") -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_until_idle(process: "subprocess.Popen[bytes]") -> None:
    used = -MAX_SECONDS
    while (now := _processor_seconds(process)) - used > IDLE_SECONDS / 10:
        used = now
        time.sleep(IDLE_SECONDS)


def _is_serving(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=MAX_SECONDS, wait_for_ready=True)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    log = folder / "log"
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
        try:
            yield process
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            process.terminate()


def _wait_for(answers: Callable[[], bool]) -> None:
    end = time.perf_counter() + MAX_SECONDS
    while time.perf_counter() < end:
        try:
            if answers():
                return
        except OSError:
            pass
        time.sleep(POLL_SECONDS)
    raise TimeoutError("the server does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _print(peer: list[float], ours: list[dict[str, float]]) -> None:
    table = Table("seconds", "median", "least", "most")
    if peer:
        table.add_row("MLflow, until /health answers", *_figures(peer))
    for step, name in STEPS.items():
        table.add_row(name, *_figures([took[step] for took in ours]))
    Console().print(table, f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _figures(found: list[float]) -> list[str]:
    return [f"{figure:.2f}" for figure in (statistics.median(found), min(found), max(found))]


if __name__ == "__main__":
    main()

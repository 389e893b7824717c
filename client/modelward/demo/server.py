"""The demo's server, in a separate process."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 60.0
STOP_SECONDS = 30.0
SCORING_PROCESSES = 2
"""One for the version in production, and one for its successor."""


class ServerFailedError(Exception):
    """The server did not start or stop correctly; the message ends with its log."""


@dataclass(frozen=True)
class DemoServer:
    """Where the demo's server is reached."""

    target: str
    """Its `host:port`."""
    console: str
    """The address of its console, for a browser."""


@contextmanager
def running_server(data_dir: Path) -> Iterator[DemoServer]:
    """Run `modelward serve` and its console on free ports for the duration of the block, and yield where they are.

    It scores; otherwise it uses the default settings and ignores those of other servers in the environment.

    Args:
        data_dir: the folder of its data; its log is written there as `server.log`.

    Raises:
        ServerFailedError: it does not respond in time, or does not stop cleanly.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    port, console_port, log = _free_port(), _free_port(), data_dir / "server.log"
    ports = ["--port", str(port), "--console-port", str(console_port)]
    own = ["--data-dir", str(data_dir), "--scoring-processes", str(SCORING_PROCESSES)]
    command = [sys.executable, "-m", "modelward", "serve", *ports, *own]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=_bare_environment())
    try:
        _wait_until_serving(process, f"127.0.0.1:{port}", log)
        yield DemoServer(f"127.0.0.1:{port}", f"http://127.0.0.1:{console_port}")
    finally:
        _stop(process, log)


def _bare_environment() -> dict[str, str]:
    """Remove every setting, because the demo must not write to the database of a real server."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("MODELWARD_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_serving(process: "subprocess.Popen[bytes]", target: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while not _serving(health):
            if process.poll() is not None:
                raise _failed(f"ended with exit code {process.returncode} instead of serving", log)
            if time.monotonic() > deadline:
                raise _failed(f"did not respond within {START_SECONDS:.0f} s", log)
            time.sleep(0.1)


def _serving(health: Any) -> bool:
    try:
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Stop the server with a signal, and kill it if it does not stop."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise _failed(f"did not stop within {STOP_SECONDS:.0f} s", log) from None


def _failed(what: str, log: Path) -> ServerFailedError:
    return ServerFailedError(f"the server {what}; its log, {log}, contains:\n{log.read_text(errors='replace')[-4000:]}")

"""A server as an operator runs it: `modelward serve` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.waiting import PATIENCE_SECONDS


def bare_environment() -> dict[str, str]:
    """Leave out every setting of a real server that whoever runs the tests may have."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("MODELWARD_")}


class ReadyServer:
    """A server that has begun to serve.

    Args:
        log: what it prints, which is a file.
        alive: says whether its process runs.
    """

    def __init__(self, log: Path, alive: Callable[[], bool]) -> None:
        self.log = log
        self.target = f"127.0.0.1:{self._port(alive)}"
        self._wait_until_serving()

    def _port(self, alive: Callable[[], bool]) -> str:
        """Return the port that the server prints."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and alive():
            if found := re.search(r"listens on 127\.0\.0\.1:(\d+)", self.log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"the server printed no port:\n{self.log.read_text()}")

    def _wait_until_serving(self) -> None:
        with grpc.insecure_channel(self.target) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS, wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


class ServerProcess(ReadyServer):
    """One `modelward serve` on a free port, told by flags and environment."""

    def __init__(self, data_dir: Path, log: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        command = [sys.executable, "-m", "modelward", "serve", "--port", "0", "--data-dir", str(data_dir), *flags]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=bare_environment() | dict(env or {})
            )
        try:
            super().__init__(log, lambda: self.process.poll() is None)
        except BaseException:
            self.kill()  # Whoever asked for it has nothing to end it by.
            raise

    def tell_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.tell_to_stop()
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

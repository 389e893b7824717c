"""A model's process as the server sees it: how it is started, heard and ended."""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from modelward.errors import StoreUnavailable
from modelward_server.comparison.nursery import RUNTIMES

KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""What a model may know of the server's environment, which may hold passwords."""
WORKER_ENVIRONMENT = {
    # Latencies compare when each model has one core; and a thread of BLAS takes memory for itself.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Arrow's own allocators set aside a gigabyte at a time, which would count against the memory limit.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
LINE_BYTES = 16 << 20
"""The longest line that is read of what a process answers."""
STARTS = 2
"""How often a process is asked for: the nursery may have been ended since the last."""


class Nursery:
    """The process that the models of one format are forked from; started when it is first needed."""

    def __init__(self, format_: str) -> None:
        self._format = format_
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        atexit.register(self.close)

    def ask(self, program: str, folder: Path) -> socket.socket:
        """Ask for a process, and return the socket over which it will answer."""
        ours, theirs = socket.socketpair()
        request = json.dumps({"program": program, "folder": str(folder)}).encode()
        with theirs, self._lock:
            try:
                socket.send_fds(self._started(), [request], [theirs.fileno()])
            except OSError:
                self.close()
                socket.send_fds(self._started(), [request], [theirs.fileno()])
        return ours

    def _started(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "modelward_server.comparison.nursery", self._format],
                    stdin=theirs.fileno(),  # The nursery ends when our end closes, should the server be killed.
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
        return self._control

    def close(self) -> None:
        """End the nursery; the models' processes go on."""
        if self._control and self._process:
            self._control.close()
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT} | WORKER_ENVIRONMENT


NURSERIES = {format_: Nursery(format_) for format_ in RUNTIMES}
"""The nursery of each format, one in each process of the server."""


@dataclass(frozen=True)
class ModelProcess:
    """A running process; what it says is checked by who hears it, since a model may say anything."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def ask(self, question: Mapping[str, object]) -> None:
        self.writer.write(json.dumps(question).encode() + b"\n")

    async def answer(self) -> Any:
        """Return what it says next, or `{"ended": status}`; the status is negative for a signal, None if unknown.

        Raises:
            ValueError: it said what is no JSON, or too much.
        """
        line = await self.reader.readline()
        while line and not line.strip():
            line = await self.reader.readline()
        return json.loads(line) if line else {"ended": None}

    async def ended(self) -> int | None:
        """Wait for its end and return its status."""
        while True:
            with suppress(ValueError):
                answer = await self.answer()
                if isinstance(answer, dict) and "ended" in answer:
                    return answer["ended"] if isinstance(answer["ended"], int) else None

    def end(self) -> None:
        """End it and what it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


@asynccontextmanager
async def start_process(format_: str, program: Literal["work", "time"], folder: Path) -> AsyncIterator[ModelProcess]:
    """Run a program for models of a format in a process of its own, and end it with the block."""
    starting = asyncio.create_task(_start(format_, program, folder))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)  # It is on its way, and nobody else would end it.
        raise
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: ModelProcess) -> None:
    process.end()
    await process.ended()
    process.writer.close()


async def _start(format_: str, program: str, folder: Path) -> ModelProcess:
    for _ in range(STARTS):
        connection = await asyncio.to_thread(NURSERIES[format_].ask, program, folder)
        reader, writer = await asyncio.open_connection(sock=connection, limit=LINE_BYTES)
        process = ModelProcess(0, reader, writer)
        answer = await process.answer()
        if "pid" in answer:
            return replace(process, pid=answer["pid"])
        writer.close()
    raise StoreUnavailable(f"no process for {format_} models could be started", store="models")


def how_it_died(code: int | None) -> str:
    """Say how a process ended that gave no answer."""
    if code == -signal.SIGKILL:
        return "was killed by the operating system, which does so when memory runs out"
    if code is not None and code < 0:
        return f"crashed its process ({signal.Signals(-code).name})"
    return f"ended its process with status {code} and without an answer"

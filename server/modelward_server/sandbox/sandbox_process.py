"""A model's process from the server's side: its start, communication and end."""

import asyncio
import atexit
import json
import logging
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelward.errors import StoreUnavailable
from modelward_server.sandbox.answers import MAX_LINE_BYTES, ModelProcessError, describe_exit, read_object
from modelward_server.sandbox.level import command, environment, level
from modelward_server.sandbox.visible import readable

log = logging.getLogger(__name__)

END_SECONDS = 10
START_SECONDS = 60
SENT_BYTES = 4 << 20
"""Rows to predict that may be on their way to a process, as far as the kernel allows: all of most requests."""
STARTS = 2
"""Attempts to start a process: the fork server may have been killed since the last one."""


class ForkServer:
    """The process that the models of one format are forked from; started on first use."""

    def __init__(self, format_: str) -> None:
        self._format = format_
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        atexit.register(self.close)

    def fork(self, program: str, folder: Path) -> tuple[socket.socket, socket.socket]:
        """Request a process; return the socket of its supervisor, and the one over which it answers."""
        pairs = socket.socketpair(), socket.socketpair()
        ours, theirs = zip(*pairs, strict=True)
        ours[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES)
        request = json.dumps({"program": program, "folder": str(folder)}).encode()
        with theirs[0], theirs[1], self._lock:
            descriptors = [end.fileno() for end in theirs]
            try:
                socket.send_fds(self._started(), [request], descriptors)
            except OSError:
                self.close()
                socket.send_fds(self._started(), [request], descriptors)
        return ours[0], ours[1]

    def _started(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair()
            arguments = self._format, json.dumps(list(map(str, readable())))
            with theirs:
                self._process = subprocess.Popen(
                    command("modelward_server.sandbox.fork_server", *arguments, wrapped=level().bubblewrap),
                    stdin=theirs.fileno(),  # The fork server ends when our end closes, also when this server is killed.
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment(),
                    start_new_session=True,
                )
        return self._control

    def close(self) -> None:
        """End the fork server, and inside bubblewrap the models' processes with it."""
        if self._control and self._process:
            self._control.close()
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


_fork_servers: dict[str, ForkServer] = {}


def fork_server(format_: str) -> ForkServer:
    """Return the fork server of a format, of which each process of the server has one."""
    if format_ not in _fork_servers:
        _fork_servers[format_] = ForkServer(format_)
    return _fork_servers[format_]


def close_fork_servers() -> None:
    """End the fork servers; the next model of a format starts another one."""
    for started in _fork_servers.values():
        started.close()


@dataclass
class ModelProcess:
    """A running process; its output is untrusted and read under a size budget.

    Args:
        reader: of its answers.
        writer: of requests to it.
        watch: connection to its supervisor, which kills it when this is closed.
        status: its exit status once it has ended: negative for a signal, None if unknown.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    watch: asyncio.StreamWriter
    status: "asyncio.Task[int | None]"

    def send(self, request: Mapping[str, object]) -> None:
        self.writer.write(json.dumps(request).encode() + b"\n")

    async def answer(self) -> dict[str, Any]:
        """Return its next answer.

        Raises:
            ModelProcessError: the answer is not a JSON object, or the process ended.
        """
        answer = await read_object(self.reader)
        if answer is None:
            raise ModelProcessError(describe_exit(await self.ended()))
        return answer

    async def ended(self) -> int | None:
        """Wait for its end and return its exit status."""
        return await asyncio.shield(self.status)

    def end(self) -> None:
        """End it at once."""
        with suppress(OSError):
            self.watch.write_eof()


@asynccontextmanager
async def start_process(
    format_: str, program: Literal["work", "time", "try", "score"], folder: Path
) -> AsyncIterator[ModelProcess]:
    """Run a program for models of a format in a process of its own, and end it with the block.

    Args:
        folder: a folder of `job_folder`, with a job in it.

    Raises:
        StoreUnavailable: it cannot be started.
    """
    starting = asyncio.create_task(_start(format_, program, folder))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)  # It is still starting, and nothing else would end it.
        raise
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: ModelProcess) -> None:
    process.end()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.ended()
    except TimeoutError:
        log.error("a model's process did not end within %d s of being asked to", END_SECONDS)
    finally:
        process.writer.close()
        process.watch.close()


async def _start(format_: str, program: str, folder: Path) -> ModelProcess:
    for _ in range(STARTS):
        watch, conversation = await asyncio.to_thread(fork_server(format_).fork, program, folder)
        watching, watch_writer = await asyncio.open_connection(sock=watch)
        reader, writer = await asyncio.open_connection(sock=conversation, limit=MAX_LINE_BYTES)
        if await _has_begun(watching):
            status = asyncio.create_task(_status(watching))
            return ModelProcess(reader, writer, watch_writer, status)
        watch_writer.close()
        writer.close()
    raise StoreUnavailable(f"no process for {format_} models could be started", store="models")


async def _has_begun(watching: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(START_SECONDS):
            return bool(await watching.readline())
    except (TimeoutError, OSError):
        return False


async def _status(watching: asyncio.StreamReader) -> int | None:
    try:
        line = await watching.readline()
    except OSError:
        return None
    ended: int | None = json.loads(line)["ended"] if line else None
    return ended

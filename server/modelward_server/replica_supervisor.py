"""Supervision of several server processes on one port: started, replaced when they die, and stopped together."""

import asyncio
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from modelward_server.settings import Settings
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.private_files import make_private_folder

log = logging.getLogger(__name__)

READY = b"serving\n"
"""What a process writes when it serves."""
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0
STABLE_SECONDS = 60.0
"""After a run of this length, a process is replaced without the longer pause for repeated failures."""
STOP_SECONDS = 20.0
"""Time beyond the grace period after which a process that does not stop is killed."""


async def supervise(settings: Settings, on_start: Callable[[int], None]) -> None:
    """Serve with `settings.processes` processes until SIGTERM or SIGINT; `on_start` is called with the port.

    Raises:
        ChildProcessError: one of them could not start; it has logged the cause itself.
        OSError: the address cannot be used.
    """
    with reserved_port(settings.host, settings.port) as port:
        await asyncio.to_thread(_migrate, settings)
        supervisor = Supervisor(settings.model_copy(update={"port": port}))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
        await supervisor.run(lambda: on_start(port))


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """Reserve a port for this process and its children, and yield its number; 0 chooses a free one.

    The socket does not listen, so it receives no connections. It is bound exclusively and opened for sharing only
    then: of two supervisors that start at once the second fails.
    """
    bare = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # A former server's connections do not block it.
        held.bind((bare, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield held.getsockname()[1]


def _migrate(settings: Settings) -> None:
    make_private_folder(settings.data_dir)
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    ledger.close()


class Supervisor:
    """Keeps the processes running."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._processes: dict[int, Process] = {}

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    async def run(self, on_start: Callable[[], None]) -> None:
        """Start every process, call `on_start` when all of them serve, and keep them running until stopped."""
        numbers = range(self._settings.processes)
        keeping: list[asyncio.Task[None]] = []
        try:
            await asyncio.gather(*map(self._start, numbers))
            on_start()
            keeping = [asyncio.create_task(self._keep(number)) for number in numbers]
            await self._stopping.wait()
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await asyncio.gather(*map(self._end, self._processes.values()))

    async def _start(self, number: int) -> None:
        """Start a process and wait until it serves."""
        command = (sys.executable, "-P", "-m", "modelward_server.replica_process")
        # In a session of its own, so that only the supervisor handles Ctrl-C.
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        self._processes[number] = process
        assert process.stdin is not None
        assert process.stdout is not None
        # Not as arguments, which every user of the machine can read. The pipe stays open: it ends with the supervisor.
        process.stdin.write(_settings_of(self._settings, number).model_dump_json().encode() + b"\n")
        if await process.stdout.readline() != READY:
            raise ChildProcessError(f"process {number} could not begin to serve")

    async def _keep(self, number: int) -> None:
        """Replace a process whenever it has ended."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            begun = time.monotonic()
            code = await self._processes[number].wait()
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - begun > STABLE_SECONDS else pause
            log.warning("process %d %s; another one starts in %.1f s", number, _how(code), pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
            with suppress(OSError):
                await self._start(number)

    async def _end(self, process: Process) -> None:
        """Stop a process, and kill it when it exceeds the grace period by `STOP_SECONDS`."""
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._settings.grace_seconds + STOP_SECONDS)
        except TimeoutError:
            log.warning("process %d did not stop and is killed", process.pid)
            process.kill()
            await process.wait()


def _settings_of(settings: Settings, number: int) -> Settings:
    """Return the settings of one process: each has its own metrics endpoint, on its own port."""
    metrics_port = settings.metrics_port + number if settings.metrics_port else settings.metrics_port
    console_port = settings.console_port if number == 0 else None
    return settings.model_copy(update={"metrics_port": metrics_port, "console_port": console_port})


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

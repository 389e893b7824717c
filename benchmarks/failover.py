"""How long callers wait when a server is killed: our client's addresses and gRPC's defaults, in one run.

    python benchmarks/failover.py --database-url postgresql+psycopg://… [--kills 20] [--outages 5]

Two `modelward serve` on one PostgreSQL database, which must be empty, are killed with SIGKILL: one of them at a time in
turns, and then both at once, of which one comes back. All the while these go on: one that logs metrics and one that
resolves, each call after the other, and one that watches. Ours: the SDK with both addresses. Peer: the same SDK, with
its repeated calls, on a channel with the same two addresses and gRPC's defaults (pick_first, reconnecting after 1 s to
120 s). Both kinds run at once and meet the same kills.

Of a kill, a gap is the longest time between two answers (of the watcher: two pieces of news) in the two seconds behind
it, and beside it stands the longest without a kill. Of an outage it is the time from the server's return to the first
answer.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from resolve import _free_port
from rich.console import Console
from rich.table import Table

from modelward import Client
from modelward.shared.targets import channel_target

MODEL = "spx"
KINDS = ("ours", "pick_first")
WORK = ("LogMetrics", "ResolveModel", "WatchModels")
START_SECONDS = 60
QUIET_SECONDS = 2.0
"""How long all goes on undisturbed before a kill, and after it before the server is started again."""
Span = tuple[float, float]
"""When something began and ended."""


class Caller:
    """Somebody who asks all the time and remembers when answers came."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered: list[float] = []

    def note(self) -> None:
        self.answered.append(time.perf_counter())

    def longest_gap(self, begin: float, end: float) -> float:
        """Return the longest time without an answer between two instants, in seconds."""
        inside = [begin, *(at for at in self.answered if begin < at < end), end]
        return max(after - before for before, after in itertools.pairwise(inside))

    def first_answer(self, begin: float, end: float) -> float:
        """Return the seconds from an instant to the first answer; the time to `end` when there was none before."""
        return min((at for at in self.answered if at > begin), default=end) - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database-url", required=True, help="an empty PostgreSQL database")
    parser.add_argument("--kills", type=int, default=20, help="how often one server is killed")
    parser.add_argument("--outages", type=int, default=5, help="how often both are")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), given.database_url, given.kills, given.outages)


def _measure(folder: Path, database_url: str, kills: int, outages: int) -> None:
    command = [sys.executable, "-m", "modelward", "serve", "--data-dir", str(folder), "--database-url", database_url]
    servers = Servers(command)
    with Client(servers.targets, timeout=START_SECONDS) as client:
        (folder / "model.bin").write_bytes(b"model")
        version = client.register(MODEL, folder / "model.bin")
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
    with ExitStack() as stack:
        callers = {kind: stack.enter_context(_working(kind, servers.targets)) for kind in KINDS}
        quiet = _span()
        killed = [servers.kill_one(kill % 2) for kill in range(kills)]
        returned = [servers.kill_both() for _ in range(outages)]
    servers.stop()
    _tell(callers, quiet, killed, returned)


class Servers:
    """Two servers that are killed and come back."""

    def __init__(self, command: list[str]) -> None:
        ports = [_free_port(), _free_port()]
        self._commands = [[*command, "--port", str(port)] for port in ports]
        self._running = [_start(command) for command in self._commands]
        self.targets = ",".join(f"127.0.0.1:{port}" for port in ports)

    def kill_one(self, number: int) -> Span:
        """Kill a server and bring it back, and return the time behind the kill."""
        self._kill(number)
        behind = _span()
        self._running[number] = _start(self._commands[number])
        time.sleep(QUIET_SECONDS)
        return behind

    def kill_both(self) -> Span:
        """Kill both servers and bring them back, and return the time from the first one's return on."""
        self._kill(0)
        self._kill(1)
        time.sleep(QUIET_SECONDS)
        self._running[0] = _start(self._commands[0])
        behind = _span(4 * QUIET_SECONDS)
        self._running[1] = _start(self._commands[1])
        time.sleep(QUIET_SECONDS)
        return behind

    def stop(self) -> None:
        for server in self._running:
            server.terminate()
            server.wait()

    def _kill(self, number: int) -> None:
        self._running[number].kill()
        self._running[number].wait()


def _span(seconds: float = QUIET_SECONDS) -> Span:
    """Let some time pass and return when it began and ended."""
    begun = time.perf_counter()
    time.sleep(seconds)
    return begun, time.perf_counter()


@contextmanager
def _working(kind: str, targets: str) -> Iterator[list[Caller]]:
    """Let callers of one kind work until the block ends."""
    ended = threading.Event()
    callers = [Caller(name) for name in WORK]
    place, _ = channel_target(targets)
    options = patch("modelward._sync.connection.channel_target", lambda _: (place, []))
    with options if kind != KINDS[0] else ExitStack():
        clients = [Client(targets, timeout=START_SECONDS, actor=kind) for _ in WORK]
    numbers = itertools.count()
    asks: list[Callable[[Client, Caller], None]] = [
        lambda client, caller: _repeat(
            ended, caller, lambda: client.log_metrics(f"{MODEL}/1", {kind: float(next(numbers))})
        ),
        lambda client, caller: _repeat(ended, caller, lambda: client.resolve(MODEL)),
        _watch,
    ]
    for ask, client, caller in zip(asks, clients, callers, strict=True):
        threading.Thread(target=ask, args=[client, caller], daemon=True).start()
    yield callers
    ended.set()


def _repeat(ended: threading.Event, caller: Caller, call: Callable[[], object]) -> None:
    while not ended.wait(0.005):
        call()
        caller.note()


def _watch(client: Client, caller: Caller) -> None:
    for _ in client.watch([MODEL]):
        caller.note()


def _start(command: list[str]) -> "subprocess.Popen[str]":
    """Start a server and wait until it says where it listens."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    assert "is starting" in server.stdout.readline()
    assert "listens" in server.stdout.readline()
    return server


def _tell(callers: dict[str, list[Caller]], quiet: Span, killed: list[Span], returned: list[Span]) -> None:
    columns = ("caller, in ms", "", "quiet", "kill p50", "kill max", "outage p50", "outage max")
    table = Table(*columns, title=f"{len(killed)} kills, {len(returned)} outages")
    for kind, each in callers.items():
        for caller in each:
            gaps = [caller.longest_gap(*span) * 1000 for span in killed]
            answers = [caller.first_answer(*span) * 1000 for span in returned]
            row = (caller.longest_gap(*quiet) * 1000, *_summed_up(gaps), *_summed_up(answers))
            table.add_row(caller.name, kind, *(f"{figure:,.0f}" for figure in row))
    Console().print(table, f"load average {os.getloadavg()[0]:.1f}")


def _summed_up(figures: list[float]) -> tuple[float, float]:
    return statistics.median(figures), max(figures)


if __name__ == "__main__":
    main()

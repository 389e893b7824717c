"""Adds a second of live rows on one sender, beside an empty bidirectional stream, in one run.

    python benchmarks/observe.py [--adds 2000] [--rows 1 10 100]

Ours: `modelward serve` on SQLite, told rows of 20 features by one `observe` of this process: first each `add` waits
until its rows are stored, then up to 512 are unacknowledged. No window closes. The processor time of an add is that of
both processes, as the system counts it. The peer: a grpc.aio server in a process of its own that acknowledges each
message of a stream with an empty one, of messages as long as the rows, 512 of which may be unacknowledged.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc import aio
from resolve import _free_port
from rich.console import Console
from rich.table import Table
from rpc_rates import running

from modelward import Client

FEATURES = 20
UNACKNOWLEDGED = 512
ALONE = 30
"""How many adds wait for each other."""
PEER = "/benchmark/Stream"
TICKS = os.sysconf("SC_CLK_TCK")
NO_WINDOW = 1_000_000_000
HEADER = ("rows", "alone p50 ms", "p99 ms", "adds/s", "rows/s", "client ms", "server ms", "peer /s", "of the peer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--adds", type=int, default=2_000, help="how many adds are queued")
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 10, 100], help="rows of an add")
    parser.add_argument("--peer-server", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peer_server:
        asyncio.run(_serve_peer(asked.peer_server))
        return
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), asked.rows, asked.adds)


@dataclass(frozen=True)
class Queued:
    """What adds took that were queued: a second, and the processor's milliseconds of each."""

    rate: float
    client_ms: float
    server_ms: float


def _measure(folder: Path, sizes: list[int], adds: int) -> None:
    peer_port, port = _free_port(), _free_port()
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(folder / "data")]
    table = Table(*HEADER)
    with running([sys.executable, __file__, "--peer-server", str(peer_port)]), running(command) as server:
        target = f"127.0.0.1:{port}"
        with grpc.insecure_channel(target) as channel:
            grpc.channel_ready_future(channel).result(timeout=300)
        with Client(target, timeout=60) as client:
            (folder / "model.bin").write_bytes(b"model")
            client.register("spx", folder / "model.bin", reference=_rows(1_000))
            for size in sizes:
                alone = _alone(client, size)
                queued = _queued(client, size, adds, server.pid)
                peer = asyncio.run(_peer(f"127.0.0.1:{peer_port}", size * FEATURES * 8, adds))
                table.add_row(*_cells(size, alone, queued, peer))
    Console().print(table, f"load average {os.getloadavg()[0]:.1f}")


def _cells(size: int, alone: list[float], queued: Queued, peer: float) -> list[str]:
    cuts = [1_000 * cut for cut in statistics.quantiles(alone, n=100)]
    numbers = (cuts[49], cuts[98], queued.rate, queued.rate * size, queued.client_ms, queued.server_ms, peer)
    formats = (".1f", ".1f", ",.0f", ",.0f", ".2f", ".2f", ",.0f")
    shown = [format(number, one) for number, one in zip(numbers, formats, strict=True)]
    return [str(size), *shown, f"{queued.rate / peer:.0%}"]


def _alone(client: Client, size: int) -> list[float]:
    """Return the seconds of adds that each wait until their rows are stored."""
    observer, rows = client.observe("spx/1", sender=f"alone-{size}", rows=NO_WINDOW), _rows(size)
    return [_seconds(lambda: observer.add(rows)) for _ in range(ALONE)]


def _queued(client: Client, size: int, adds: int, server: int) -> Queued:
    observer = client.observe("spx/1", sender=f"queued-{size}", rows=NO_WINDOW, unacknowledged=UNACKNOWLEDGED)
    tables = [_rows(size, seed) for seed in range(64)]
    before, own = _processor_seconds(server), time.process_time()

    def add_all() -> None:
        for number in range(adds):
            observer.add(tables[number % len(tables)])
        assert observer.flush().acknowledged == adds

    taken = _seconds(add_all)
    spent = time.process_time() - own, _processor_seconds(server) - before
    return Queued(adds / taken, *(1_000 * one / adds for one in spent))


def _rows(size: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {f"f{i}": random.normal(size=size) for i in range(FEATURES)}


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def _peer(target: str, size: int, messages: int) -> float:
    """Return how many messages a second are acknowledged."""
    room = asyncio.Semaphore(UNACKNOWLEDGED)

    async def send() -> AsyncIterator[bytes]:
        for _ in range(messages):
            await room.acquire()
            yield bytes(size)

    async with aio.insecure_channel(target) as channel:
        call: Any = channel.stream_stream(PEER)
        begun = time.perf_counter()
        async for _ in call(send(), wait_for_ready=True):
            room.release()
        return messages / (time.perf_counter() - begun)


async def _serve_peer(port: int) -> None:
    async def acknowledge(messages: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for _ in messages:
            yield b""

    server = aio.server()
    handlers = {PEER.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(acknowledge)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("benchmark", handlers)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    main()

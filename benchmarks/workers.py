"""Calls a second of `modelward serve` with one worker and with several, in one run.

    python benchmarks/workers.py [--workers 2] [--clients 16] [--seconds 5] [--database-url postgresql+psycopg://…]

Ours: `--workers N`. Peer: the same server as one process. ResolveModel is asked by two processes of clients, each
client on a connection of its own, as engines are: connections are what workers share. Server and clients take the cores
from each other here, so the gain is less than on a machine of the server's own. The database must be empty.
"""

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from grpc import aio
from resolve import _free_port
from rich.console import Console
from rich.table import Table
from rpc_rates import MODEL, OWN_CONNECTION, _fill, _keep_asking, running

from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

ASKING_PROCESSES = 2
ROUNDS = 3
"""How often each server is asked, in turns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16, help="how many ask at the same time")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long, each time")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database; empty: SQLite")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        print(asyncio.run(_ask(given.ask, given.clients, given.seconds)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), given)


def _measure(folder: Path, given: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "modelward", "serve", "--data-dir", str(folder)]
    command += ["--database-url", given.database_url] if given.database_url else []
    ports = {workers: _free_port() for workers in (1, given.workers)}
    rates: dict[int, list[float]] = {workers: [] for workers in ports}
    for turn, (workers, port) in itertools.product(range(ROUNDS), ports.items()):
        with running([*command, "--port", str(port), "--workers", str(workers)]):
            if turn == 0 and workers == 1:
                _fill(f"127.0.0.1:{port}", folder)
            rates[workers].append(_asked(f"127.0.0.1:{port}", given))
    table = Table("workers", "ResolveModel a second, each time", "best / best of one")
    for workers, each in rates.items():
        table.add_row(str(workers), ", ".join(f"{rate:,.0f}" for rate in each), f"{max(each) / max(rates[1]):.2f}")
    Console().print(table, f"{given.clients} clients, load average {os.getloadavg()[0]:.1f}")


def _asked(target: str, given: argparse.Namespace) -> float:
    """Let several processes ask, and return the answers a second of all together."""
    each = str(given.clients // ASKING_PROCESSES)
    command = [sys.executable, __file__, "--ask", target, "--clients", each, "--seconds", str(given.seconds)]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(ASKING_PROCESSES)]
    return sum(float(process.communicate()[0]) for process in asking)


async def _ask(target: str, clients: int, seconds: float) -> float:
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(aio.insecure_channel(target, options=OWN_CONNECTION))
            for _ in range(clients)
        ]
        stubs = [LifecycleServiceStub(channel) for channel in channels]
        request = pb.ResolveModelRequest(model=MODEL)
        for stub in stubs:
            await stub.ResolveModel(request, wait_for_ready=True)
        took: list[float] = []
        begun = time.perf_counter()
        asks = [_keep_asking(lambda one=stub: one.ResolveModel(request), begun + seconds, took) for stub in stubs]
        await asyncio.gather(*asks)
        return len(took) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()

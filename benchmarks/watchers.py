"""How long until a promotion is known to 1,000 engines? Told by Modelward, and polling an MLflow server, in one run.

    python benchmarks/watchers.py [--engines 1000] [--promotions 20]

Ours: `modelward serve`, and engines that watch, each on a connection of its own, in two processes. Timed from the call
that promotes to the arrival of the event at each engine. Peer: an MLflow server is asked by alias from 32 threads; when
every engine polls as often as that rate allows, an engine learns of a change within engines / rate seconds.
"""

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from grpc import aio
from resolve import MODEL, _free_port, _measure_mlflow, _running
from rich.console import Console
from rich.table import Table

from modelward import Client, ModelVersion
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import STAGE_PRODUCTION, STAGE_STAGING
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

PROCESSES = 2
QUIET_SECONDS = 2.0
"""The pause before each promotion, in which MLflow is shown the one before."""
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engines", type=int, default=1000)
    parser.add_argument("--promotions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long the peer is asked")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rate = _measure_mlflow(Path(folder, "mlflow"), asked.seconds)[32].rate
        waits = _measure_ours(Path(folder, "modelward"), asked.engines, asked.promotions)
    polled = asked.engines / rate * 1000
    table = Table("", "p50 ms", "p99 ms", title=f"a promotion reaches {asked.engines:,} engines")
    table.add_row(f"polling MLflow at {rate:,.0f}/s", f"{polled * 0.5:,.0f}", f"{polled * 0.99:,.0f}")
    cuts = statistics.quantiles(waits, n=100)
    table.add_row("watching Modelward", f"{cuts[49]:,.1f}", f"{cuts[98]:,.1f}")
    Console().print(table, f"p99 ratio {polled * 990 / cuts[98] / 1000:,.0f}, load average {os.getloadavg()[0]:.1f}")


def _measure_ours(folder: Path, engines: int, promotions: int) -> list[float]:
    """Return the milliseconds from each promotion's call to its arrival at each engine."""
    port = _free_port()
    target = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(folder)]
    with _running(command), Client(target, timeout=60) as client:
        folder.mkdir(exist_ok=True)
        (folder / "model.bin").write_bytes(b"model")
        versions = [client.register(MODEL, folder / "model.bin") for _ in range(promotions)]
        with _watching(target, engines // PROCESSES) as watchers:
            return [wait for version in versions for wait in _promote(client, version, watchers)]


def _promote(client: Client, version: ModelVersion, watchers: list[Connection]) -> list[float]:
    """Promote when all is quiet."""
    client.promote(version, to="staging")
    for watcher in watchers:
        watcher.recv()
    time.sleep(QUIET_SECONDS)
    begun = time.monotonic()
    client.promote(version, to="production")
    return [(arrived - begun) * 1000 for watcher in watchers for arrived in watcher.recv()]


@contextmanager
def _watching(target: str, engines: int) -> Iterator[list[Connection]]:
    """Run the processes that the engines live in; each connection gives the arrivals, promotion after promotion."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(PROCESSES)]
    processes = [context.Process(target=_engines, args=(target, engines, pipe)) for _, pipe in pipes]
    for process in processes:
        process.start()
    try:
        for watcher, _ in pipes:
            watcher.recv()  # All of its engines watch.
        yield [watcher for watcher, _ in pipes]
    finally:
        for process in processes:
            process.terminate()


def _engines(target: str, count: int, pipe: Connection) -> None:
    asyncio.run(_watch_all(target, count, pipe))


async def _watch_all(target: str, count: int, pipe: Connection) -> None:
    first, arrivals = _Gathered(count, pipe), _Gathered(count, pipe)
    await asyncio.gather(*(_watch(target, first, arrivals) for _ in range(count)))


class _Gathered:
    """Instants of one thing at each engine, sent away when it happened at all of them."""

    def __init__(self, count: int, pipe: Connection) -> None:
        self._count, self._pipe = count, pipe
        self._instants: list[float] = []

    def add(self) -> None:
        self._instants.append(time.monotonic())
        if len(self._instants) == self._count:
            self._pipe.send(self._instants)
            self._instants = []


async def _watch(target: str, first: _Gathered, arrivals: _Gathered) -> None:
    async with aio.insecure_channel(target, options=OWN_CONNECTION) as channel:
        call = LifecycleServiceStub(channel).WatchModels(pb.WatchModelsRequest(models=[MODEL]))
        async for response in call:
            for event in response.events:
                if event.HasField("state"):
                    first.add()
                elif event.transition.to in (STAGE_STAGING, STAGE_PRODUCTION):
                    arrivals.add()


if __name__ == "__main__":
    main()

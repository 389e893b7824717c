"""How long until a promotion is known to 1,000 engines? Told by Modelward, and by bare grpc.aio, in one run.

    python benchmarks/watchers.py [--engines 1000] [--promotions 20] [--processes 1] [--database-url URL] [--polling]

Ours: `modelward serve`, and engines that watch, each on a connection of its own, in two processes. Timed from the call
that promotes to the arrival of the event at each engine. Peer: a grpc.aio server writes the same message, ready as
bytes, to as many streams of the same processes; timed from the signal to write. Both in turn, with as many server
processes. `--polling` adds an MLflow server that is asked by alias from 32 threads; when every engine polls as often
as that rate allows, an engine learns of a change within engines / rate seconds.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import psutil
from bare_streams import Ready, bare_server
from grpc import aio
from resolve import MODEL, _free_port, _measure_mlflow, _running
from rich.console import Console
from rich.table import Table

from modelward import Client, ModelVersion
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import STAGE_PRODUCTION
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

PROCESSES = 2
START_SECONDS = 180
QUIET_SECONDS = 2.0
"""The pause before each promotion, in which MLflow is shown the one before."""
OPENED_AT_ONCE = 50
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
REQUEST = pb.WatchModelsRequest(models=[MODEL])


@dataclass(frozen=True)
class Round:
    """How one change arrived."""

    waits: list[float]
    """Milliseconds from the call, or the signal, to the arrival at each engine."""
    used: float
    """Milliseconds of processor time that the servers took until the last arrival."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engines", type=int, default=1000)
    parser.add_argument("--promotions", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1, help="of each server")
    parser.add_argument("--database-url", default="", help="of the ledger; otherwise SQLite")
    parser.add_argument("--polling", action="store_true", help="also ask MLflow")
    asked = parser.parse_args()
    _allow_files()
    with tempfile.TemporaryDirectory() as folder:
        polling = _measure_mlflow(Path(folder, "mlflow"), 4.0)[32].rate if asked.polling else None
        ours, bare = _measure(Path(folder, "modelward"), asked)
    title = f"a promotion reaches {asked.engines:,} engines, {asked.processes} server processes"
    table = Table("", "p50 ms", "p99 ms", "last ms", "server's processor ms", title=title)
    if polling:
        waits = (asked.engines / polling * share * 1000 for share in (0.5, 0.99, 1))
        table.add_row(f"polling MLflow at {polling:,.0f}/s", *(f"{wait:,.0f}" for wait in waits))
    for name, rounds in (("bare grpc.aio", bare), ("watching Modelward", ours)):
        table.add_row(name, *(f"{figure:,.1f}" for figure in _shown(rounds)))
    ratios = (own / peer for own, peer in zip(_shown(ours), _shown(bare), strict=True))
    table.add_row("ratio", *(f"{ratio:.2f}" for ratio in ratios))
    Console().print(table, f"load average {os.getloadavg()[0]:.1f}")


def _shown(rounds: Sequence[Round]) -> tuple[float, float, float, float]:
    """Return the 50th and 99th percentile over all rounds, and the medians of the last and of the processor's time."""
    cuts = statistics.quantiles([wait for one in rounds for wait in one.waits], n=100)
    last, used = (max(one.waits) for one in rounds), (one.used for one in rounds)
    return cuts[49], cuts[98], statistics.median(last), statistics.median(used)


def _allow_files() -> None:
    """Allow this process and its children a file for each connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _measure(folder: Path, asked: argparse.Namespace) -> tuple[list[Round], list[Round]]:
    """Return how each promotion, and each signal of the peer, arrived."""
    port, peer = _free_port(), _free_port()
    flags = ["--port", str(port), "--data-dir", str(folder), "--processes", str(asked.processes)]
    database = ["--database-url", asked.database_url] if asked.database_url else []
    command = [sys.executable, "-m", "modelward", "serve", *flags, *database]
    targets = (f"127.0.0.1:{port}", f"127.0.0.1:{peer}")
    with (
        _running(command) as own,
        grpc.insecure_channel(targets[0]) as channel,
        Client(targets[0], timeout=60) as client,
    ):
        grpc.channel_ready_future(channel).result(START_SECONDS)
        ready, versions = _recorded(client, channel, folder, asked.promotions)
        with bare_server(peer, ready, asked.processes) as (tell, others), _watching(targets, asked.engines) as watchers:
            ours, bare = [], []
            for version in versions:
                client.promote(version, to="staging")
                ours.append(
                    _timed(partial(client.promote, version, to="production", reason="measured"), watchers, [own])
                )
                bare.append(_timed(tell, watchers, others))
            return ours, bare


def _recorded(client: Client, channel: grpc.Channel, folder: Path, promotions: int) -> tuple[Ready, list[ModelVersion]]:
    """Return the messages of a watch and of a promotion, and the versions to promote."""
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(b"model")
    versions = [client.register(MODEL, folder / "model.bin") for _ in range(promotions + 2)]
    for version in versions[:2]:
        client.promote(version, to="staging")
    client.promote(versions[0], to="production", reason="it passed its tests")
    messages = LifecycleServiceStub(channel).WatchModels(REQUEST)
    first = next(messages)
    client.promote(versions[1], to="production", reason="it passed its tests")
    ready = Ready(first.SerializeToString(), next(messages).SerializeToString())
    messages.cancel()
    return ready, versions[2:]


def _timed(change: Callable[[], object], watchers: list[Connection], servers: list[int]) -> Round:
    """Change something when all is quiet, and wait until each engine knows."""
    time.sleep(QUIET_SECONDS)
    used, begun = _used(servers), time.monotonic()
    change()
    arrivals = [arrived for watcher in watchers for arrived in watcher.recv()]
    return Round([(arrived - begun) * 1000 for arrived in arrivals], (_used(servers) - used) * 1000)


def _used(servers: list[int]) -> float:
    """Return the seconds of processor time that processes and their children have taken."""
    roots = [psutil.Process(pid) for pid in servers]
    times = [one.cpu_times() for root in roots for one in (root, *root.children(recursive=True))]
    return sum(each.user + each.system for each in times)


@contextmanager
def _watching(targets: Sequence[str], engines: int) -> Iterator[list[Connection]]:
    """Run the processes that the engines of each server live in; each connection gives the arrivals of a change."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(PROCESSES)]
    processes = [context.Process(target=_engines, args=(targets, engines // PROCESSES, pipe)) for _, pipe in pipes]
    for process in processes:
        process.start()
    try:
        watchers = [watcher for watcher, _ in pipes]
        for watcher in watchers:
            for _ in targets:
                watcher.recv()  # All of its engines watch.
        yield watchers
    finally:
        for process in processes:
            process.terminate()


def _engines(targets: Sequence[str], count: int, pipe: Connection) -> None:
    asyncio.run(_watch_all(targets, count, pipe))


async def _watch_all(targets: Sequence[str], count: int, pipe: Connection) -> None:
    opening = asyncio.Semaphore(OPENED_AT_ONCE)
    gathered = [(target, _Gathered(count, pipe), _Gathered(count, pipe)) for target in targets]
    await asyncio.gather(*(_watch(*each, opening) for each in gathered for _ in range(count)))


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


async def _watch(target: str, first: _Gathered, arrivals: _Gathered, opening: asyncio.Semaphore) -> None:
    async with aio.insecure_channel(target, options=OWN_CONNECTION) as channel:
        responses = aiter(LifecycleServiceStub(channel).WatchModels(REQUEST))
        async with opening:
            await anext(responses)
        first.add()
        async for response in responses:
            if any(event.transition.to == STAGE_PRODUCTION for event in response.events):
                arrivals.add()


if __name__ == "__main__":
    main()

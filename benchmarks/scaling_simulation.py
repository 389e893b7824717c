"""A simulation of servers that share a ledger: the rates and latencies that they sustain, beside those of a real run.

    python benchmarks/scaling_simulation.py --check [--seconds 8]     # measures here, and compares
    python benchmarks/scaling_simulation.py [--resolve-ms 1 --write-ms 8 --disk-ms 4]    # plans, from measured costs

What is simulated: a process runs one thread of Python at a time, in turns of a millisecond; a machine runs as many
processes at once as it has cores; a change has the ledger to itself, from its first statement until its commit is on
disk; the changes that wait in one process are committed together. --check asks `modelward serve` on SQLite with one
client for the costs, and then with more clients and processes for what is predicted from these. Its clients take turns
in one process of the same machine, which is simulated too.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any, TypeAlias

import simpy
from grpc import aio
from resolve import _free_port
from rich.console import Console
from rich.table import Table
from rpc_rates import MODEL, OWN_CONNECTION, _fill, running
from start import _is_serving, _wait_for

from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import ModelVersionRef
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.storage.group_commit import MAX_CHANGES, MAX_SECONDS

Steps: TypeAlias = Generator[simpy.Event, Any, None]
TURN = 0.001
"""Seconds after which a process lets its next thread run; the interpreter's own interval is five times longer."""
TICKS = os.sysconf("SC_CLK_TCK")
SEED = 7
CHECKED = ((1, 8), (1, 32), (2, 8), (2, 32))
"""Processes and clients that are measured as well."""
RESOLVE = pb.ResolveModelRequest(model=MODEL)
PLANNED_SECONDS, SETTLE_SECONDS = 1.0, 10.0
WRITES = 0.1
"""The share of changes among the calls that are measured."""


@dataclass(frozen=True)
class Costs:
    """What one call takes, in seconds."""

    resolve: float
    """Of a server's processor, for a ResolveModel."""
    write: float
    """Likewise, for a LogMetrics."""
    disk: float
    """Wait of a commit for the disk or the database."""
    client: float = 0.0
    """Of the processor of the clients, for any call; 0 where they run on machines of their own."""


@dataclass(frozen=True)
class Load:
    """Who asks whom."""

    clients: int
    processes: int
    """Of each server."""
    servers: int = 1
    cores: int = 2
    """Of each server's machine."""
    writes: float = WRITES
    """The share of changes among the calls."""
    pause: float = 0.0
    """Mean time between the answer to a client and its next call, in seconds."""


@dataclass(frozen=True)
class Rates:
    """What the clients saw."""

    calls: float
    """A second."""
    resolve_p99: float
    """Milliseconds; NaN without such calls."""
    write_p99: float


class Simulation:
    """Servers, their machines, and the one ledger."""

    def __init__(self, costs: Costs, load: Load) -> None:
        self._costs, self._load = costs, load
        self._random = random.Random(SEED)  # noqa: S311 - no secret
        self.env = simpy.Environment()
        self._head = simpy.Resource(self.env)
        self._took: dict[bool, list[float]] = {True: [], False: []}
        machines = [simpy.Resource(self.env, load.cores) for _ in range(load.servers)]
        self._processes = [Process(self, machine) for machine in machines for _ in range(load.processes)]
        self._clients = Process(self, machines[0])

    def run(self, seconds: float) -> Rates:
        """Let the clients ask for so long, after a tenth of it that does not count."""
        for number in range(self._load.clients):
            self.env.process(self._ask(self._processes[number % len(self._processes)], seconds / 10))
        self.env.run(seconds * 1.1)
        resolves, writes = self._took[False], self._took[True]
        return Rates((len(resolves) + len(writes)) / seconds, p99(resolves), p99(writes))

    def _ask(self, process: "Process", warm_up: float) -> Steps:
        while True:
            if self._load.pause:
                yield self.env.timeout(self._random.expovariate(1 / self._load.pause))
            begun, writes = self.env.now, self._random.random() < self._load.writes
            yield from self._clients.work(self._costs.client)
            yield from process.write() if writes else process.work(self._costs.resolve)
            if self.env.now > warm_up:
                self._took[writes].append(self.env.now - begun)

    def commit(self, process: "Process", waiting: deque[simpy.Event]) -> Steps:
        """Commit the changes that wait in a process, as one transaction."""
        with self._head.request() as head:
            yield head
            done, until = list[simpy.Event](), self.env.now + MAX_SECONDS
            while waiting and len(done) < MAX_CHANGES and self.env.now < until:
                done.append(waiting.popleft())
                yield from process.work(self._costs.write)
            yield self.env.timeout(self._costs.disk)
        for one in done:
            one.succeed()


class Process:
    """A process of a machine: one thread of it runs at a time."""

    def __init__(self, simulation: Simulation, machine: simpy.Resource) -> None:
        self._simulation, self._env, self._machine = simulation, simulation.env, machine
        self._interpreter = simpy.Resource(self._env)
        self._turn = simpy.Resource(self._env)
        self._waiting = deque[simpy.Event]()

    def work(self, seconds: float) -> Steps:
        """Take the processor for so long, in turns with the other threads and processes."""
        while seconds > 0:
            with self._interpreter.request() as interpreter:
                yield interpreter
                with self._machine.request() as core:
                    yield core
                    yield self._env.timeout(min(seconds, TURN))
            seconds -= TURN

    def write(self) -> Steps:
        """Make a change: whoever gets the turn commits all that wait."""
        committed = self._env.event()
        self._waiting.append(committed)
        with self._turn.request() as turn:
            yield turn | committed
            while not committed.triggered:
                yield from self._simulation.commit(self, self._waiting)


def p99(took: list[float]) -> float:
    """Return the 99th percentile in milliseconds; NaN of fewer than two."""
    return statistics.quantiles(took, n=100)[98] * 1000 if len(took) > 1 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="measure a real server, and compare")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each real run takes")
    parser.add_argument("--resolve-ms", type=float, default=1.0, help="processor time of a ResolveModel")
    parser.add_argument("--write-ms", type=float, default=8.0, help="processor time of a LogMetrics")
    parser.add_argument("--disk-ms", type=float, default=4.0, help="wait of a commit for the disk or the database")
    given = parser.parse_args()
    if given.check:
        print_check(given.seconds)
    else:
        print_plan(Costs(given.resolve_ms / 1000, given.write_ms / 1000, given.disk_ms / 1000))


def print_plan(costs: Costs) -> None:
    """Print what clients get that ask again at once: first changes alone, then resolves alone, then both."""
    table = Table("servers", "processes of each", "clients", "changes", "calls/s", "resolve p99 ms", "change p99 ms")
    sizes = [(1, 1), (1, 4), (2, 4), (4, 4), (8, 4)]
    for (servers, processes), clients, writes in product(sizes, (16, 64), (0.0, WRITES, 1.0)):
        rates = Simulation(costs, Load(clients, processes, servers, processes, writes)).run(PLANNED_SECONDS)
        row = (f"{rates.calls:,.0f}", f"{rates.resolve_p99:,.1f}", f"{rates.write_p99:,.1f}")
        table.add_row(f"{servers}", f"{processes}", f"{clients}", f"{writes:.0%}", *row)
    Console(width=140).print(table, costs)


def print_check(seconds: float) -> None:
    """Measure the costs with one client, and then what several get, beside what is predicted."""
    costs = asyncio.run(measure_costs(seconds))
    table = Table("processes", "clients", "calls/s", "predicted", "error", "resolve p99 ms", "predicted", "error")
    for heading in ("change p99 ms", "predicted", "error"):
        table.add_column(heading)
    for processes, clients in CHECKED:
        predicted = Simulation(costs, Load(clients, processes)).run(seconds)
        measured = asyncio.run(_measure(processes, clients, WRITES, seconds))[0]
        pairs = zip(vars(measured).values(), vars(predicted).values(), strict=True)
        cells = [(f"{real:,.0f}", f"{said:,.0f}", f"{said / real - 1:+.0%}") for real, said in pairs]
        table.add_row(f"{processes}", f"{clients}", *chain.from_iterable(cells))
    Console(width=150).print(table, costs, f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


async def measure_costs(seconds: float) -> Costs:
    """Return the costs of calls as one client meets them, where other load on the machine prolongs each of them."""
    resolve, resolve_used = await _measure(1, 1, 0.0, seconds)
    write, write_used = await _measure(1, 1, 1.0, seconds)
    # A resolve waits for nothing but processors: what it takes beyond their time, other load takes.
    slower = max(1.0, 1 / (resolve.calls * sum(resolve_used)))
    server, client = resolve_used
    disk = 1 / write.calls - slower * sum(write_used)
    return Costs(slower * server, slower * write_used[0], max(disk, 0.0), slower * client)


async def _measure(processes: int, clients: int, writes: float, seconds: float) -> tuple[Rates, tuple[float, float]]:
    """Return the rates, and the processor time of server and clients for each call."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", folder]
        with running([*command, "--workers", str(processes)]) as server:
            await asyncio.to_thread(_wait_for, lambda: _is_serving(port))
            await asyncio.to_thread(_fill, f"127.0.0.1:{port}", Path(folder))
            await asyncio.sleep(SETTLE_SECONDS)
            before = _processor_seconds(server.pid), time.process_time()
            took = await _ask_all(f"127.0.0.1:{port}", clients, writes, seconds)
            after = _processor_seconds(server.pid), time.process_time()
    calls = sum(map(len, took.values()))
    rates = Rates(calls / seconds, p99(took[False]), p99(took[True]))
    return rates, ((after[0] - before[0]) / calls, (after[1] - before[1]) / calls)


async def _ask_all(target: str, clients: int, writes: float, seconds: float) -> dict[bool, list[float]]:
    took: dict[bool, list[float]] = {True: [], False: []}
    async with AsyncExitStack() as stack:
        channels = [aio.insecure_channel(target, options=OWN_CONNECTION) for _ in range(clients)]
        stubs = [LifecycleServiceStub(await stack.enter_async_context(channel)) for channel in channels]
        await asyncio.gather(*(stub.ResolveModel(RESOLVE) for stub in stubs))
        end = time.perf_counter() + seconds
        await asyncio.gather(*(_keep_asking(stub, number, writes, end, took) for number, stub in enumerate(stubs)))
    return took


async def _keep_asking(stub: Any, seed: int, share: float, end: float, took: dict[bool, list[float]]) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    while (begun := time.perf_counter()) < end:
        writes = chance.random() < share
        await (stub.LogMetrics(_change(chance.random())) if writes else stub.ResolveModel(RESOLVE))
        took[writes].append(time.perf_counter() - begun)


def _change(value: float) -> pb.LogMetricsRequest:
    return pb.LogMetricsRequest(version=ModelVersionRef(model=MODEL, version=1), metrics={"accuracy": value})


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its descendants."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / TICKS + sum(_processor_seconds(int(child)) for child in children)


if __name__ == "__main__":
    main()

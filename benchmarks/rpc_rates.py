"""Calls a second of every kind that engines and trainers make, beside an empty call, in one run.

    python benchmarks/rpc_rates.py [--seconds 3] [--clients 8]

Ours: `modelward serve` on SQLite, asked by coroutines of this process, each waiting for its answer before it asks
again. The limit: a grpc.aio server in a process of its own that answers an empty message with an empty one, asked so.
Then 1,000 watches are opened, each on a connection of its own: what they take of the server's memory, and the rate at
which it resolves while they are open. (`watchers.py` measures how soon they are told.)
"""

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc import aio
from resolve import _free_port
from rich.console import Console
from rich.table import Table

from modelward import Client
from modelward.v1 import drift_pb2, retraining_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import ModelVersionRef
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub

OTHER = "halted"
"""A model that is only halted, again and again."""
WATCHES = 1_000
MODEL = "spx"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
EMPTY = "/benchmark/Empty"
Ask = Callable[[], Awaitable[object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each call is made")
    parser.add_argument("--clients", type=int, default=8, help="how many ask at the same time")
    parser.add_argument("--empty-server", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.empty_server:
        asyncio.run(_serve_empty(asked.empty_server))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), asked.seconds, asked.clients))


@dataclass(frozen=True)
class Measured:
    """How a call was answered."""

    rate: float
    """Answers a second."""
    p50: float
    """Milliseconds."""
    p99: float


async def _measure(folder: Path, seconds: float, clients: int) -> None:
    limit_port, port = _free_port(), _free_port()
    target = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(folder)]
    with running([sys.executable, __file__, "--empty-server", str(limit_port)]), running(command) as server:
        await asyncio.to_thread(_fill, target, folder)
        limit = await _measure_empty(f"127.0.0.1:{limit_port}", seconds, clients)
        table = Table("call", "/s", "p50 ms", "p99 ms", "of the limit")
        table.add_row("an empty call", f"{limit.rate:,.0f}", f"{limit.p50:,.2f}", f"{limit.p99:,.2f}", "100%")
        async with aio.insecure_channel(target) as channel:
            for name, ask in _calls(channel).items():
                one = await _ask(ask, seconds, clients)
                share = f"{one.rate / limit.rate:.0%}"
                table.add_row(name, f"{one.rate:,.0f}", f"{one.p50:,.2f}", f"{one.p99:,.2f}", share)
            Console().print(table, f"{clients} clients, load average {os.getloadavg()[0]:.1f}")
            await _measure_watches(target, server, lambda: _ask(_calls(channel)["ResolveModel"], seconds, clients))


async def _measure_watches(
    target: str, server: "subprocess.Popen[bytes]", resolve: Callable[[], Awaitable[Measured]]
) -> None:
    before, begun = resident_mb(server), time.perf_counter()
    async with AsyncExitStack() as stack:
        for _ in range(WATCHES):
            channel = await stack.enter_async_context(aio.insecure_channel(target, options=OWN_CONNECTION))
            watch = LifecycleServiceStub(channel).WatchModels(pb.WatchModelsRequest(models=[MODEL]))
            await watch.read()
        opened, taken = time.perf_counter() - begun, resident_mb(server) - before
        rate = (await resolve()).rate
    Console().print(
        f"{WATCHES:,} watches: opened in {opened:.1f} s, {taken / WATCHES * 1024:.0f} KB of the server's memory each, "
        f"{rate:,.0f} resolves a second while they are open"
    )


def _fill(target: str, folder: Path) -> None:
    with Client(target, timeout=60) as client:
        (folder / "model.bin").write_bytes(b"model")
        for _ in range(3):
            client.register(MODEL, folder / "model.bin")
        client.promote("spx/1", to="staging")
        client.promote("spx/1", to="production", reason="it passed its tests")
        client.create_model(OTHER)
        client.set_reference("spx/1", {"a": [float(i) for i in range(1_000)]})


def _calls(channel: aio.Channel) -> dict[str, Ask]:
    lifecycle, drift, jobs = LifecycleServiceStub(channel), DriftServiceStub(channel), RetrainingServiceStub(channel)
    ref, numbers = ModelVersionRef(model=MODEL, version=1), itertools.count()
    report = pb.ReportActiveVersionRequest(version=ref, engine="engine-1")
    few = drift_pb2.DetectDriftRequest(version=ref)
    column = few.data.columns.columns.add(name="a")
    column.doubles.values.extend(float(i) for i in range(100))

    def outcomes() -> Awaitable[object]:
        outcome = drift_pb2.Outcome(prediction_id=f"id-{next(numbers)}", prediction=1.0, label=2.0)
        return drift.RecordOutcomes(drift_pb2.RecordOutcomesRequest(version=ref, outcomes=[outcome]))

    def metrics() -> Awaitable[object]:
        return lifecycle.LogMetrics(pb.LogMetricsRequest(version=ref, metrics={"accuracy": float(next(numbers))}))

    return {
        "ResolveModel": lambda: lifecycle.ResolveModel(pb.ResolveModelRequest(model=MODEL)),
        "GetModelVersion": lambda: lifecycle.GetModelVersion(pb.GetModelVersionRequest(version=ref)),
        "ListModelVersions": lambda: lifecycle.ListModelVersions(pb.ListModelVersionsRequest(model=MODEL)),
        "ListTransitions": lambda: lifecycle.ListTransitions(pb.ListTransitionsRequest(model=MODEL)),
        "GetRollout": lambda: lifecycle.GetRollout(pb.GetRolloutRequest(model=MODEL)),
        "ListDueModels": lambda: jobs.ListDueModels(retraining_pb2.ListDueModelsRequest()),
        "ReportActiveVersion": lambda: lifecycle.ReportActiveVersion(report),
        "LogMetrics": metrics,
        "HaltModel": lambda: lifecycle.HaltModel(pb.HaltModelRequest(model=OTHER, reason="measured")),
        "RecordOutcomes, one": outcomes,
        "DetectDrift, 100 rows": lambda: drift.DetectDrift(few),
    }


async def _measure_empty(target: str, seconds: float, clients: int) -> Measured:
    async with aio.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(EMPTY)
        await call(b"", wait_for_ready=True)
        return await _ask(lambda: call(b""), seconds, clients)


async def _serve_empty(port: int) -> None:
    async def answer(_request: bytes, _context: object) -> bytes:
        return b""

    server = aio.server()
    handlers = {EMPTY.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("benchmark", handlers)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def _ask(ask: Ask, seconds: float, clients: int) -> Measured:
    """Ask for so long."""
    await ask()
    took: list[float] = []
    begun = time.perf_counter()
    await asyncio.gather(*(_keep_asking(ask, begun + seconds, took) for _ in range(clients)))
    rate = len(took) / (time.perf_counter() - begun)
    return Measured(rate, *(1000 * float(np.percentile(took, percent)) for percent in (50, 99)))


async def _keep_asking(ask: Ask, end: float, took: list[float]) -> None:
    while (begun := time.perf_counter()) < end:
        await ask()
        took.append(time.perf_counter() - begun)


@contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.terminate()


def resident_mb(process: "subprocess.Popen[bytes]") -> float:
    """Return the memory that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()

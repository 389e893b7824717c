"""Do senders that stop in the middle hold up anybody else?

    python benchmarks/stalled_streams.py [--stalled 64] [--honest 200] [--cut-off 1000]

`modelward serve` on SQLite. Honest load: that many streams for drift, 16 at a time, while other calls are timed one
after the other. The same load is repeated while so many senders of each call that takes a stream (uploads, references,
drift, live rows) have sent a part and then neither more nor the end, in turns of without and with. Then streams are cut
off at a random byte. Told are p99 of the other calls without and with, and the server's threads and memory.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
from attacks import KINDS, cut_off, honest_drift, stall
from resolve import _free_port, _wait_for
from rich.console import Console
from rich.table import Table
from rpc_rates import resident_mb, running

from modelward import Client
from modelward.errors import Unavailable
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

AT_ONCE = 16
ROUNDS = 3
MODEL = "spx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stalled", type=int, default=64)
    parser.add_argument("--honest", type=int, default=200)
    parser.add_argument("--cut-off", type=int, default=1000)
    asked = parser.parse_args()
    port = _free_port()
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", name]
        with running([*command, "--upload-silence-seconds", "600"]) as server:
            _fill(f"127.0.0.1:{port}", Path(name))
            asyncio.run(_measure(f"127.0.0.1:{port}", server, asked))


def _fill(target: str, folder: Path) -> None:
    (folder / "model.bin").write_bytes(os.urandom(10_000))
    with Client(target, timeout=60) as client:
        _wait_for(lambda: _is_up(client))
        version = client.register(MODEL, folder / "model.bin")
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
        client.set_reference(version, {"x": np.arange(500.0)})


def _is_up(client: Client) -> bool:
    try:
        list(client.list_models())
    except Unavailable as error:
        raise ConnectionError from error
    return True


async def _measure(target: str, server: Any, asked: argparse.Namespace) -> None:
    table = Table("", "honest", "come again", "other calls", "p50 ms", "p99 ms", "threads", "resident MB")
    pairs = []
    async with grpc.aio.insecure_channel(target) as bad:
        await _round(target, asked.honest)  # What is done for the first time takes longer.
        for number in range(ROUNDS):
            without = await _row(table, f"without, {number + 1}", target, server, asked.honest)
            stalled = [await stall(bad, kind) for kind in KINDS for _ in range(asked.stalled)]
            with_them = await _row(table, f"with {len(stalled)}, {number + 1}", target, server, asked.honest)
            pairs.append(with_them / without)
            for call in stalled:
                call.cancel()
            await asyncio.sleep(1)
        chance = Random(7)  # noqa: S311
        for _ in range(asked.cut_off):
            await cut_off(bad, chance)
    await asyncio.sleep(3)
    table.add_row(f"{asked.cut_off} cut off", *[""] * 5, str(_threads(server)), f"{resident_mb(server):,.0f}")
    Console().print(table)
    print(f"p99 with / without: {', '.join(f'{pair:.2f}' for pair in pairs)}; load average {os.getloadavg()[0]:.1f}")


async def _row(table: Table, name: str, target: str, server: Any, honest: int) -> float:
    ended, times = await _round(target, honest)
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1000
    cells = (ended["done"], ended["come again"], len(times), f"{p50:.1f}", f"{p99:.1f}", _threads(server))
    table.add_row(name, *map(str, cells), f"{resident_mb(server):,.0f}")
    return float(p99)


async def _round(target: str, honest: int) -> tuple[Counter[str], list[float]]:
    """Send honest streams, and time other calls until the last of them has ended."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with turn:
            return await honest_drift(target)

    load = asyncio.gather(*(one() for _ in range(honest)))
    times: list[float] = []
    async with grpc.aio.insecure_channel(target) as channel:
        stub = LifecycleServiceStub(channel)
        while not load.done():
            for method, request in (
                (stub.ResolveModel, pb.ResolveModelRequest(model=MODEL)),
                (stub.GetModel, pb.GetModelRequest(model=MODEL)),
                (stub.ListTransitions, pb.ListTransitionsRequest(model=MODEL)),
                (stub.HaltModel, pb.HaltModelRequest(model=MODEL, reason="try")),
                (stub.ResumeModel, pb.ResumeModelRequest(model=MODEL, reason="try")),
            ):
                began = time.perf_counter()
                await method(request, timeout=60)
                times.append(time.perf_counter() - began)
    return Counter(await load), times


def _threads(server: Any) -> int:
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


if __name__ == "__main__":
    main()

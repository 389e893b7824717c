"""How many threads and how much memory does an engine of 60 models take? Each follower alone, and all together.

    python benchmarks/followers.py [--models 60]

`modelward serve` runs in a process of its own, and each way of following in a fresh one: `follow` once for each model,
and `follow_many`, sync and async. Told is by how much threads and resident memory grew from the import of the client
and of scikit-learn to the moment at which every model was loaded, and how long that took.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import numpy as np
from resolve import _free_port, _wait_for
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from modelward import AsyncClient, Client

WAYS = ("follow", "follow_many", "async follow", "async follow_many")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(*_grown(given.way, given.target, given.models))
        return
    table = Table("", "threads", "MiB", "seconds", title=f"following {given.models} models")
    with tempfile.TemporaryDirectory() as name:
        port = _free_port()
        command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", name]
        server = subprocess.Popen(command)
        try:
            _register(f"127.0.0.1:{port}", given.models)
            for way in WAYS:
                table.add_row(way, *_measure(way, f"127.0.0.1:{port}", given.models))
        finally:
            server.terminate()
            server.wait()
    Console().print(table)


def _register(target: str, models: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 10))
    with Client(target, timeout=60) as client:
        _wait_for(lambda: socket.create_connection(("127.0.0.1", int(target.partition(":")[2]))) is not None)
        for name in _names(models):
            model = LogisticRegression().fit(features, random.integers(0, 2, size=200))
            version = client.register(name, model)
            client.promote(version, to="staging")
            client.promote(version, to="production", reason="it passed its tests")


def _names(models: int) -> list[str]:
    return [f"model-{number:03}" for number in range(models)]


def _measure(way: str, target: str, models: int) -> list[str]:
    command = [sys.executable, __file__, "--way", way, "--target", target, "--models", str(models)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def _grown(way: str, target: str, models: int) -> tuple[str, str, str]:
    import skops.io  # noqa: F401 - so that its import does not count

    threads, memory, begun = _threads(), _memory(), time.monotonic()
    with tempfile.TemporaryDirectory() as cache:
        if way.startswith("async"):
            grown = asyncio.run(_follow_async(way, target, _names(models), cache))
        else:
            grown = _follow(way, target, _names(models), cache)
    return f"{grown[0] - threads}", f"{grown[1] - memory:.0f}", f"{grown[2] - begun:.1f}"


def _follow(way: str, target: str, names: list[str], cache: str) -> tuple[int, float, float]:
    with Client(target) as client, ExitStack() as stack:
        if way == "follow":
            for name in names:
                stack.enter_context(client.follow(name, cache=cache)).current.model.predict(np.zeros((1, 10)))
        else:
            for followed in stack.enter_context(client.follow_many(names, cache=cache)).values():
                followed.current.model.predict(np.zeros((1, 10)))
        loaded = time.monotonic()
        time.sleep(2)
        return _threads(), _memory(), loaded


async def _follow_async(way: str, target: str, names: list[str], cache: str) -> tuple[int, float, float]:
    async with AsyncClient(target) as client, AsyncExitStack() as stack:
        if way == "async follow":
            for name in names:
                live = await stack.enter_async_context(client.follow(name, cache=cache))
                live.current.model.predict(np.zeros((1, 10)))
        else:
            for followed in (await stack.enter_async_context(client.follow_many(names, cache=cache))).values():
                followed.current.model.predict(np.zeros((1, 10)))
        loaded = time.monotonic()
        await asyncio.sleep(2)
        return _threads(), _memory(), loaded


def _threads() -> int:
    """Return the number of threads of this process, those of gRPC included."""
    return max(len(list(Path("/proc/self/task").iterdir())), threading.active_count())


def _memory() -> float:
    """Return the resident memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()

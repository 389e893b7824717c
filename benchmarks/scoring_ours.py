"""Our server for `scoring.py`: it scores, with models in production."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from resolve import _free_port
from rpc_rates import running
from scoring_models import frame

from modelward import AsyncClient, Client

START_SECONDS = 60


@contextmanager
def server(folder: Path, processes: int) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run a server; yield its process and where it listens when it does."""
    port = _free_port()
    target = f"127.0.0.1:{port}"
    place = ["--port", str(port), "--data-dir", str(folder / "data")]
    command = [sys.executable, "-m", "modelward", "serve", *place, "--scoring-processes", str(processes)]
    with running(command) as process, grpc.insecure_channel(target) as channel:
        grpc.channel_ready_future(channel).result(START_SECONDS)
        yield process, target


@asynccontextmanager
async def scoring(folder: Path, trained: dict[str, Any]) -> AsyncIterator[tuple[aio.Channel, AsyncClient]]:
    """Run a server with models in production, and at most two processes for each core."""
    with server(folder, 2 * (os.cpu_count() or 1)) as (_, target):
        await asyncio.to_thread(_fill, target, trained)
        async with aio.insecure_channel(target) as channel, AsyncClient(target, timeout=60) as client:
            yield channel, client


def _fill(target: str, trained: dict[str, Any]) -> None:
    with Client(target, timeout=120) as client:
        for name, model in trained.items():
            version = client.register(name, model, reference=frame(200))
            client.promote(version, to="staging")
            client.promote(version, to="production", reason="it passed its tests")
        while any(not client.resolve(name).version.mlflow_version for name in trained):
            time.sleep(0.2)  # The server's first import of MLflow takes seconds of a core.

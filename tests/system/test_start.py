"""Startup: a server accepts calls before it imports large libraries, and a background task imports them afterwards."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from modelward import Client
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_SECONDS, eventually

LARGE = (
    "arch",
    "exchange_calendars",
    "matplotlib",
    "mlflow",
    "onnxruntime",
    "pandas",
    "polars",
    "scipy.special",
    "scipy.stats",
    "sklearn",
    "skops",
    "statsmodels",
)
"""Libraries that take from a tenth of a second to some seconds to import."""
BROKEN = "raise RuntimeError('this library is broken')\n"


def imported(program: str) -> set[str]:
    """Run a program in a process of its own and return which of the libraries it has imported."""
    said = f"{program}\nimport sys\nprint(*({set(LARGE)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    return set(done.stdout.split())


def test_a_server_imports_no_large_library_to_start() -> None:
    assert imported("import modelward_server.app, modelward_server.replica_supervisor") == set()


def test_a_server_that_serves_has_imported_none(tmp_path: Path) -> None:
    program = f"""
import asyncio, pathlib
from modelward_server.app import App
from modelward_server.settings import Settings

async def start():
    app = App(Settings(port=0, data_dir=pathlib.Path({str(tmp_path)!r}, "data")))
    assert await app.start()
    await app.stop()

asyncio.run(start())"""
    assert imported(program) == set()


def test_the_warm_up_imports_what_calls_need_beside_calls_that_do() -> None:
    program = """
import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from modelward_server.libraries import load
from modelward_server.mlflow.client import load_mlflow
from modelward_server.runtime.warm_up import warm_up

sys.setswitchinterval(0.0005)
with ThreadPoolExecutor() as calls:
    needed = calls.map(load, ["matplotlib.ticker", "matplotlib.figure", "arch.bootstrap", "matplotlib.font_manager"])
    asyncio.run(warm_up(load_mlflow))
    assert all(needed)"""
    assert imported(program) >= {"scipy.stats", "sklearn", "arch", "matplotlib", "mlflow"}


def state(server: ServerProcess, task: str) -> str:
    with grpc.insecure_channel(server.target) as channel:
        health: Any = HealthStub(channel)
        answer = health.Check(HealthCheckRequest(service=f"modelward.background.{task}"), timeout=PATIENCE_SECONDS)
    return HealthCheckResponse.ServingStatus.Name(answer.status)


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A folder whose packages a server finds before those that are installed."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, libraries: Path) -> Iterator[ServerProcess]:
    """A server in a process that has imported nothing before."""
    environment = {"PYTHONPATH": f"{libraries}:{':'.join(sys.path)}"}
    library = libraries / "arch"
    library.mkdir()
    (library / "__init__.py").write_text(BROKEN)
    started = ServerProcess(tmp_path / "data", tmp_path / "log", env=environment)
    yield started
    started.kill()


def test_a_library_that_cannot_be_imported_is_shown_and_tried_again(
    server: ServerProcess, libraries: Path, tmp_path: Path
) -> None:
    library = libraries / "arch"
    eventually(lambda: state(server, "warm-up") == "NOT_SERVING", PATIENCE_SECONDS)
    assert "the background task warm-up failed" in server.log.read_text()
    assert "this library is broken" in server.log.read_text()
    with Client(server.target) as client:  # What needs no such library goes on.
        (tmp_path / "model.bin").write_bytes(b"model")
        assert client.register("plain", tmp_path / "model.bin").version == 1
    (library / "__init__.py").write_text("")
    (library / "bootstrap.py").write_text("")
    eventually(lambda: state(server, "warm-up") == "SERVING", PATIENCE_SECONDS)

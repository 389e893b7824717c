"""The servers of models that `scoring.py` measures as peers, each in an environment of its own that uv makes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from grpc import aio
from resolve import AT_ITS_BEST, _free_port
from scoring_models import Model, save_for_mlflow, save_for_mlserver, small_model

LIBRARIES = ["lightgbm", "scikit-learn", "numpy", "onnx", "onnxruntime"]
"""What a peer needs in the version that wrote the models."""
PACKAGES = {
    "MLServer": [
        *(f"{name}==1.7.1" for name in ("mlserver", "mlserver-lightgbm", "mlserver-sklearn", "mlserver-mlflow")),
        "uvloop<0.22",  # With later ones its processes for models do not start.
    ],
    "MLflow": [f"mlflow=={version('mlflow')}"],
}
INFER = "/inference.GRPCInferenceService/ModelInfer"
READY_SECONDS = 120
Ask = Callable[[], Awaitable[Any]]


class NotMeasuredError(Exception):
    """A peer cannot be measured here; the text says why."""


def environment(peer: str, folder: Path) -> Path:
    """Return the folder of a peer's programs; its environment is made unless it is there.

    Raises:
        NotMeasuredError: it cannot be installed.
    """
    place = folder / peer.lower()
    if not (place / "installed").exists():
        packages = [*PACKAGES[peer], *(f"{name}=={version(name)}" for name in LIBRARIES)]
        _run(["uv", "venv", "--clear", "--python", sys.executable, str(place)])
        _run(["uv", "pip", "install", "--python", str(place / "bin" / "python"), *packages])
        (place / "installed").touch()
    return place / "bin"


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise NotMeasuredError(" ".join(done.stderr.decode().split())[-300:])
    return done.stdout


@asynccontextmanager
async def mlserver(programs: Path, models: list[Model], folder: Path) -> AsyncIterator["MLServer"]:
    """Run MLServer with models, in the one process for models that it has by default."""
    for model in models:
        place = folder / model.name
        place.mkdir(parents=True)
        _describe(model.name, place, *save_for_mlserver(model, place))
    with _served(programs, folder) as (process, port):
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield MLServer(process, channel, programs, folder)


@contextmanager
def small_models(programs: Path, number: int, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run MLServer with many small models, and yield it when all are loaded."""
    for seed in range(number):
        place = folder / f"small-{seed}"
        place.mkdir(parents=True)
        small_model(seed).booster_.save_model(place / "model.bst")
        _describe(place.name, place, "mlserver_lightgbm.LightGBMModel", "model.bst")
    with _served(programs, folder) as (process, _):
        asyncio.run(_wait_for_http(_ready_url(folder), process))
        yield process


@contextmanager
def _served(programs: Path, folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    ports = {name: _free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **ports, "debug": False}))
    with in_group([str(programs / "mlserver"), "start", str(folder)], programs, folder) as process:
        yield process, ports["grpc_port"]


def _describe(name: str, place: Path, implementation: str, file: str) -> None:
    settings = {"name": name, "implementation": implementation, "parameters": {"uri": f"./{file}"}}
    (place / "model-settings.json").write_text(json.dumps(settings))


def _ready_url(folder: Path) -> str:
    port = json.loads((folder / "settings.json").read_text())["http_port"]
    return f"http://127.0.0.1:{port}/v2/health/ready"


class MLServer:
    """MLServer, asked over gRPC with requests that are ready as bytes."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: aio.Channel, programs: Path, folder: Path) -> None:
        self.process = process
        self._infer: Any = channel.unary_unary(INFER)
        self._programs, self._folder = programs, folder

    async def asker(self, model: Model, rows: int) -> Ask:
        """Return what asks for the predictions of so many rows, after a first answer that is right."""
        table = self._folder / "table.npy"
        np.save(table, model.rows(rows))
        python, script = str(self._programs / "python"), str(Path(__file__).with_name("mlserver_request.py"))
        request = _run([python, script, model.name, "x", str(table)])
        await _wait_for_http(_ready_url(self._folder), self.process)
        answer = await self._infer(request)
        if np.asarray(model.expected, model.rows(1).dtype).tobytes() not in answer:
            raise NotMeasuredError("it predicts something else")
        return lambda: self._infer(request)


@asynccontextmanager
async def mlflow(programs: Path, model: Model, folder: Path) -> AsyncIterator["MLflow"]:
    """Run MLflow's server of one model, with one process."""
    save_for_mlflow(model, folder / "model")
    port = _free_port()
    place = ["--model-uri", str(folder / "model"), "--host", "127.0.0.1", "--port", str(port)]
    command = [str(programs / "mlflow"), "models", "serve", "--env-manager", "local", "--workers", "1", *place]
    with in_group(command, programs, folder) as process:
        await _wait_for_http(f"http://127.0.0.1:{port}/health", process)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield MLflow(process, session, f"http://127.0.0.1:{port}/invocations")


class MLflow:
    """MLflow's server of one model, asked over kept connections with requests that are ready as bytes."""

    def __init__(self, process: "subprocess.Popen[bytes]", session: aiohttp.ClientSession, url: str) -> None:
        self.process = process
        self._session, self._url = session, url

    async def asker(self, model: Model, rows: int) -> Ask:
        """Return what asks for the predictions of so many rows, after a first answer that is right."""
        values = model.rows(rows).tolist()
        body = json.dumps({"inputs": {"x": values} if model.name == "onnx" else values}).encode()

        async def ask() -> bytes:
            headers = {"Content-Type": "application/json"}
            async with self._session.post(self._url, data=body, headers=headers) as answer:
                answer.raise_for_status()
                return await answer.read()

        if not np.isclose(_first(json.loads(await ask())["predictions"]), model.expected, rtol=1e-5):
            raise NotMeasuredError("it predicts something else")
        return ask


def _first(answer: Any) -> Any:
    """Return the first number, whatever it is in."""
    while isinstance(answer, dict | list):
        answer = next(iter(answer.values() if isinstance(answer, dict) else answer))
    return answer


@contextmanager
def in_group(command: list[str], programs: Path, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server in a process group of its own, and end what it started with it."""
    found = {**os.environ, **AT_ITS_BEST, "PATH": f"{programs}:{os.environ['PATH']}"}
    found.pop("PYTHONPATH", None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=found, stdout=log, stderr=log, start_new_session=True, cwd=folder)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


async def _wait_for_http(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while process.poll() is None and time.monotonic() < end:
            with suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.ok:
                        return
            await asyncio.sleep(0.2)
    why = "its server ended" if process.poll() is not None else f"it was not ready after {READY_SECONDS} s"
    raise NotMeasuredError(why)

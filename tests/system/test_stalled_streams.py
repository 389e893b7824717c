"""Senders that stop in the middle hold nothing that others need: no thread, no place, no end of the server."""

import asyncio
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import pytest

from modelward import AsyncClient, Client
from modelward.errors import DeadlineExceeded, InvalidField, LimitReached, ModelwardError
from modelward.lifecycle import ModelVersion
from modelward.shared.retry import error_of
from modelward.v1 import common_pb2, drift_pb2, lifecycle_pb2
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.rpc.upload_streams import MAX_UPLOADS_OF_CLIENT
from modelward_server.settings import Settings
from tests.support.forked_server import ForkedServer
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.stalled_streams import (
    DRIFT,
    KINDS,
    REFERENCE,
    TABLE,
    UPLOAD,
    Kind,
    Parts,
    StalledStream,
    as_stream,
    cut_off,
)
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.weekly("postgresql")

STALLED, HONEST, CUT_OFF = (64, 200, 1_000) if FULL else (16, 40, 80)


@pytest.fixture(params=DATABASES)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    """A server of its own, whose threads can be counted."""
    url = "" if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", database_url=url))
    yield running
    running.stop()


@pytest.fixture
def version(running: RunningServer, tmp_path: Path) -> common_pb2.ModelVersionRef:
    """A version with a reference."""
    return _registered(running.target, tmp_path)


def _registered(target: str, folder: Path) -> common_pb2.ModelVersionRef:
    (folder / "model.txt").write_text("a model")
    with Client(target, timeout=PATIENCE_SECONDS) as client:
        version: ModelVersion = client.register("spx", folder / "model.txt")
        client.set_reference(version, {"x": np.arange(500.0)})
    return common_pb2.ModelVersionRef(model="spx", version=1)


@pytest.fixture
async def channel(running: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(running.target) as channel:
        yield channel


async def _stall(channel: grpc.aio.Channel, version: common_pb2.ModelVersionRef, each: int) -> list[StalledStream]:
    stalled = [StalledStream(channel, kind, version, sent=2) for kind in KINDS for _ in range(each)]
    await asyncio.gather(*(one.begin() for one in stalled))
    return stalled


async def test_others_are_answered_while_many_senders_stall(
    running: RunningServer, version: common_pb2.ModelVersionRef, channel: grpc.aio.Channel
) -> None:
    stalled = await _stall(channel, version, STALLED)
    async with AsyncClient(running.target, timeout=PATIENCE_SECONDS) as client:
        await client.halt("spx", reason="try")
        await client.resume("spx")
        honest = [asyncio.ensure_future(_honest(running.target, version)) for _ in range(HONEST)]
        for _ in range(20):
            await client.get_model("spx")
        assert set(await asyncio.gather(*honest)) <= {None, LimitReached}
    assert not any(one.call.done() for one in stalled)
    for one in stalled:
        one.call.cancel()
    executors = running.app.executors
    eventually(lambda: not any(executor.outstanding for executor in (executors.compute, executors.files)))


async def _honest(target: str, version: common_pb2.ModelVersionRef) -> type[ModelwardError] | None:
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        return await _sent(channel, DRIFT.parts(version))


async def _sent(channel: grpc.aio.Channel, parts: Parts) -> type[ModelwardError] | None:
    """Send a stream for drift, and return what error came of it."""
    try:
        await DRIFT.call(channel)(as_stream(parts), timeout=PATIENCE_SECONDS)
    except grpc.aio.AioRpcError as error:
        return type(error_of(error))
    return None


async def test_senders_that_are_cut_off_leave_nothing_behind(
    running: RunningServer, version: common_pb2.ModelVersionRef, channel: grpc.aio.Channel
) -> None:
    chance = random.Random(7)
    executors = running.app.executors
    for _ in range(CUT_OFF):
        kind = chance.choice(KINDS)
        call = kind.call(channel)()
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            for part in cut_off(kind.parts(version), chance):
                await call.write(part)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() / 100)
            call.cancel()
    eventually(lambda: not any(executor.outstanding for executor in (executors.compute, executors.files)))
    threads = threading.active_count()
    await DRIFT.call(channel)(as_stream(DRIFT.parts(version)), timeout=PATIENCE_SECONDS)
    assert threading.active_count() <= threads + executors.compute.threads + executors.files.threads
    incoming = running.settings.blobs_folder / "incoming"
    assert not [path for path in incoming.iterdir() if path.suffix != ".part"]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that bears no silence."""
    settings = Settings(port=0, data_dir=tmp_path_factory.mktemp("impatient"), upload_silence_seconds=0.2)
    running = RunningServer(settings)
    _registered(running.target, settings.data_dir)
    yield running
    running.stop()


@pytest.mark.parametrize("kind", [UPLOAD, REFERENCE, DRIFT], ids=lambda kind: kind.name)
@pytest.mark.parametrize("sent", [0, 2])
async def test_sender_that_is_silent_for_too_long_is_sent_away(impatient: RunningServer, kind: Kind, sent: int) -> None:
    version = common_pb2.ModelVersionRef(model="spx", version=1)
    async with grpc.aio.insecure_channel(impatient.target) as channel:
        stalled = StalledStream(channel, kind, version, sent)
        await stalled.begin()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stalled.call
    error = error_of(caught.value)
    assert isinstance(error, DeadlineExceeded)
    assert error.message == "nothing arrived for 0.2 s; send the rest without such a pause, or start again"


async def test_upload_beyond_the_bound_is_told_to_come_again(
    running: RunningServer, version: common_pb2.ModelVersionRef, channel: grpc.aio.Channel
) -> None:
    stalled = [StalledStream(channel, REFERENCE, version, sent=1) for _ in range(MAX_UPLOADS_OF_CLIENT)]
    await asyncio.gather(*(one.begin() for one in stalled))
    uploads = running.app.uploads
    await asyncio.to_thread(eventually, lambda: uploads.open == MAX_UPLOADS_OF_CLIENT)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await DRIFT.call(channel)(as_stream(DRIFT.parts(version)), timeout=PATIENCE_SECONDS)
    error = error_of(caught.value)
    assert isinstance(error, LimitReached)
    assert error.retry_seconds == 1.0
    for one in stalled:
        one.call.cancel()
    await asyncio.to_thread(eventually, lambda: uploads.open == 0)
    await DRIFT.call(channel)(as_stream(DRIFT.parts(version)), timeout=PATIENCE_SECONDS)


async def test_stream_that_ends_anywhere_is_answered(
    running: RunningServer, version: common_pb2.ModelVersionRef, channel: grpc.aio.Channel
) -> None:
    for end in range(1, len(TABLE), 97):
        parts = [
            drift_pb2.DetectDriftStreamRequest(header=drift_pb2.DetectDriftHeader(version=version)),
            drift_pb2.DetectDriftStreamRequest(arrow_ipc=TABLE[:end]),
        ]
        assert await _sent(channel, parts) in {None, InvalidField}


async def test_server_ends_within_its_grace_whatever_hangs(tmp_path: Path) -> None:
    """MLflow takes connections and answers none: the mirror hangs, and so does who imports from it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mlflow = f"http://127.0.0.1:{silent.getsockname()[1]}"
        served = ForkedServer(tmp_path / "data", tmp_path / "log", "--mlflow-uri", mlflow, "--grace-seconds", "2")
        version = _registered(served.target, tmp_path)
        async with grpc.aio.insecure_channel(served.target) as channel:
            hanging = LifecycleServiceStub(channel).ImportMlflow(lifecycle_pb2.ImportMlflowRequest())
            await _stall(channel, version, 16)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(hanging), 1)
            began = time.monotonic()
            assert await asyncio.to_thread(served.stop) == 0
            assert time.monotonic() - began < 60
            hanging.cancel()

"""What a message costs before it is allowed: nothing is read of a call that is refused, and nothing is kept of it."""

import asyncio
import gc
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from modelward import AsyncClient, Client, errors
from modelward.caller import Role
from modelward.shared.retry import error_of
from modelward.v1 import comparison_pb2, drift_pb2, lifecycle_pb2, retraining_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.interceptors import validation
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings
from tests.security.test_tokens import token_of
from tests.support.forked_server import ForkedServer
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

MESSAGES, AT_ONCE, MEGABYTES = (1_000, 32, 60) if FULL else (48, 32, 60)
MAX_GROWTH_MB = 200
METHODS = [
    method
    for file in (lifecycle_pb2, drift_pb2, comparison_pb2, retraining_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(Settings(port=0, data_dir=tmp_path_factory.mktemp("data"), auth=True, log_calls=True))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def viewer(guarded: RunningServer) -> str:
    return token_of(guarded, "vera", Role.VIEWER)


def proof(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def refused(call: Any) -> grpc.RpcError:
    """Return what a call is refused with while it has sent nothing and goes on to send nothing."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    return caught.value


def silent(channel: grpc.Channel, method: str, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.RpcError:
    """Open a call of any kind, send its headers and no message, and return what it ends with."""
    opened: Any = channel.stream_stream(method)
    hold = threading.Event()
    try:
        return refused(opened(iter(lambda: hold.wait() or b"", b""), timeout=PATIENCE_SECONDS, metadata=metadata))
    finally:
        hold.set()


def test_a_stranger_is_refused_by_every_method_before_a_message_has_come(guarded: RunningServer) -> None:
    names = [f"/{method.containing_service.full_name}/{method.name}" for method in METHODS]
    with grpc.insecure_channel(guarded.target) as channel, ThreadPoolExecutor(16) as pool:
        ends: list[Any] = list(pool.map(lambda name: silent(channel, name), [*names, REFLECTION]))
    assert {end.code() for end in ends} == {grpc.StatusCode.UNAUTHENTICATED}


def test_a_viewer_is_refused_by_what_takes_more_before_a_message_has_come(guarded: RunningServer, viewer: str) -> None:
    methods = ("ComparisonService/BenchmarkModels", "LifecycleService/UploadBlobs", "ComparisonService/CompareModels")
    with grpc.insecure_channel(guarded.target) as channel:
        for method in methods:
            error = error_of(silent(channel, f"/modelward.v1.{method}", proof(viewer)))
            assert isinstance(error, errors.RoleTooLow)


def test_a_call_that_sends_no_message_is_told_so(guarded: RunningServer, viewer: str) -> None:
    with grpc.insecure_channel(guarded.target) as channel:
        for method in ("LifecycleService/GetModel", "LifecycleService/WatchModels"):
            opened: Any = channel.stream_stream(f"/modelward.v1.{method}")
            error = error_of(refused(opened(iter(()), timeout=PATIENCE_SECONDS, metadata=proof(viewer))))
            assert isinstance(error, errors.InvalidField)
            assert "send one message" in str(error)


def test_a_message_that_does_not_come_is_waited_for_only_so_long(
    guarded: RunningServer, viewer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MAX_SILENCE_SECONDS", 0.2)
    with grpc.insecure_channel(guarded.target) as channel:
        error = error_of(silent(channel, "/modelward.v1.LifecycleService/GetModel", proof(viewer)))
    assert isinstance(error, errors.DeadlineExceeded)
    assert "send it at once" in str(error)


@pytest.mark.parametrize("size", [(4 << 20) + 1, 6 << 20], ids=["a little", "beyond what is read"])
async def test_a_message_over_the_limit_says_what_to_do(guarded: RunningServer, viewer: str, size: int) -> None:
    model = "m" * size
    with Client(guarded.target, token=viewer) as client, pytest.raises(errors.MessageTooLarge) as caught:
        client.get_model(model)
    async with AsyncClient(guarded.target, token=viewer) as client:
        with pytest.raises(errors.MessageTooLarge, match="as a stream"):
            await client.get_model(model)
    assert int(caught.value.metadata["size_bytes"]) > int(caught.value.metadata["limit_bytes"])


def test_a_message_over_the_limit_is_not_parsed(
    guarded: RunningServer, viewer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 million empty fields would be a gigabyte of objects; here, bytes that cannot be parsed show the order."""
    with grpc.insecure_channel(guarded.target) as channel:
        call: Any = channel.unary_unary("/modelward.v1.LifecycleService/GetModel")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff" * ((4 << 20) + 1), timeout=PATIENCE_SECONDS, metadata=proof(viewer))
        assert isinstance(error_of(caught.value), errors.MessageTooLarge)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff" * 100, timeout=PATIENCE_SECONDS, metadata=proof(viewer))
        assert isinstance(error_of(caught.value), errors.InvalidField)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_read_as_far_as_plain_ones(
    guarded: RunningServer, viewer: str, compression: grpc.Compression
) -> None:
    with grpc.insecure_channel(guarded.target, compression=compression) as channel:
        stub = LifecycleServiceStub(channel)
        assert not stub.ListModels(pb.ListModelsRequest(), metadata=proof(viewer)).models
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModel(pb.GetModelRequest(model="m" * (64 << 20)), timeout=PATIENCE_SECONDS, metadata=proof(viewer))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_stream_that_a_message_breaks_is_not_taken_for_a_whole_one(
    guarded: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = token_of(guarded, "tom", Role.TRAINER)
    content = b"x" * 100
    header = pb.UploadBlobsRequest(header=pb.BlobHeader(sha256=hashlib.sha256(content).hexdigest(), size_bytes=100))
    sent = [header, pb.UploadBlobsRequest(chunk=content), pb.UploadBlobsRequest(chunk=b"x" * (6 << 20))]
    with grpc.insecure_channel(guarded.target) as channel, pytest.raises(grpc.RpcError) as caught:
        LifecycleServiceStub(channel).UploadBlobs(iter(sent), timeout=PATIENCE_SECONDS, metadata=proof(token))
    assert isinstance(error_of(caught.value), errors.MessageTooLarge)


def alive(*kinds: type) -> Counter[str]:
    """Count the objects of some types that are there without a collection."""
    return Counter(type(found).__name__ for found in gc.get_objects() if isinstance(found, kinds))


def left(before: Counter[str], *kinds: type) -> Counter[str]:
    """Return what is more than before, when the server has left the calls, which clients may know of earlier."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (more := alive(*kinds) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    return more


async def test_errors_and_their_requests_are_gone_without_a_collection(guarded: RunningServer, viewer: str) -> None:
    kinds = (errors.ModelwardError, grpc.aio.AbortError, pb.GetModelRequest, comparison_pb2.BenchmarkModelsRequest)
    calls: list[tuple[str, Message, tuple[tuple[str, str], ...]]] = [
        ("LifecycleService/GetModel", pb.GetModelRequest(model="m"), ()),
        ("ComparisonService/BenchmarkModels", comparison_pb2.BenchmarkModelsRequest(), proof(viewer)),
        ("LifecycleService/GetModel", pb.GetModelRequest(model="none"), proof(viewer)),
        ("LifecycleService/GetModel", pb.GetModelRequest(model="no name\n"), proof(viewer)),
        ("LifecycleService/WatchModels", pb.WatchModelsRequest(resume_token="forged"), proof(viewer)),
    ]
    raw = [(name, message.SerializeToString(), metadata) for name, message, metadata in calls]
    del calls
    gc.collect()
    gc.disable()
    try:
        before = alive(*kinds)
        async with grpc.aio.insecure_channel(guarded.target) as channel:
            for name, data, metadata in raw * 2:
                call: Any = channel.unary_stream(f"/modelward.v1.{name}")
                with pytest.raises(grpc.RpcError):
                    [answer async for answer in call(data, metadata=metadata, timeout=PATIENCE_SECONDS)]
        assert await asyncio.to_thread(left, before, *kinds) == Counter()
    finally:
        gc.enable()


def resident_mb(server: ForkedServer) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def flood(server: ForkedServer, method: str, metadata: tuple[tuple[str, str], ...], gzip: bool = False) -> Counter[str]:
    """Send many messages, many at a time and each on a connection of its own, and count what they end with."""
    payload, left = b"\x0a\x00" * (MEGABYTES << 19), itertools.count()
    how = grpc.Compression.Gzip if gzip else None
    own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]

    def send(_: int) -> list[str]:
        ends = []
        with grpc.insecure_channel(server.target, options=own, compression=how) as channel:
            call: Any = channel.unary_unary(method)
            while next(left) < MESSAGES:
                with pytest.raises(grpc.RpcError) as caught:
                    call(payload, metadata=metadata, timeout=PATIENCE_SECONDS)
                ends.append(caught.value.code().name)
        return ends

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(end for ends in pool.map(send, range(AT_ONCE)) for end in ends)


@pytest.mark.system
def test_large_messages_that_are_refused_leave_the_servers_memory_alone(tmp_path: Path) -> None:
    server = ForkedServer(tmp_path / "data", tmp_path / "log", "--auth", "true")
    with admin_session(Settings(data_dir=server.data_dir)) as (session, caller):
        token = grants.create_token(session, "vera", Role.VIEWER, (), None, caller)
    before, peak, over = resident_mb(server), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], resident_mb(server))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        strangers = flood(server, "/modelward.v1.ComparisonService/BenchmarkModels", ())
        viewers = flood(server, "/modelward.v1.LifecycleService/WatchModels", proof(token))
        packed = flood(server, "/modelward.v1.LifecycleService/WatchModels", proof(token), gzip=True) if FULL else None
    finally:
        over.set()
        watching.join()
    after = resident_mb(server)
    assert server.stop() == 0
    assert strangers == {"UNAUTHENTICATED": MESSAGES}
    assert viewers == {"RESOURCE_EXHAUSTED": MESSAGES}
    assert packed in (None, {"RESOURCE_EXHAUSTED": MESSAGES})
    assert peak[0] - before < MAX_GROWTH_MB
    assert after - before < MAX_GROWTH_MB / 2

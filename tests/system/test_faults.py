"""What no client should do: the server answers each with a status that says whose fault it is, and goes on serving.

`MODELWARD_TEST_SCALE=full` sends several hundred times as much; both print nothing unless something is wrong.
"""

import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from modelward import Client
from modelward.errors import ModelFailed
from modelward.v1 import drift_pb2, lifecycle_pb2
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server import app
from modelward_server.settings import Settings
from tests.support.flaky_proxy import FlakyProxy
from tests.support.forked_server import ForkedServer
from tests.support.fuzz_requests import Known, RawCaller, RequestFuzzer, methods
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS

REQUESTS = 200_000 if FULL else 360
THREADS = 4
SECONDS = 60.0
"""Of a call, which may be one that waits as long as it may."""
STREAM_SECONDS = 0.2
GROWTH_MB = 100
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
FAULTS_OF_OURS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}


@dataclass
class Filled:
    """A server with something of everything in it."""

    served: ForkedServer
    known: Known

    def check(self) -> None:
        """It serves, and its log tells of no failure."""
        with Client(self.served.target, timeout=PATIENCE_SECONDS) as client:
            assert client.get_model("spx").latest_version >= 3
            assert client.verify_audit_log().intact
        assert "Traceback" not in self.served.log.read_text()

    def resident_mb(self) -> int:
        lines = Path(f"/proc/{self.served.pid}/status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith("VmRSS")]
        return int(line.split()[1]) // 1024


@pytest.fixture(scope="module", params=DATABASES)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("faults")
    flags = []
    if request.param == "postgresql":
        flags = ["--database-url", new_database(request.getfixturevalue("postgres"))]
    served = ForkedServer(folder / "data", folder / "log", *flags)
    yield Filled(served, _fill(served.target))
    served.kill()


def _fill(target: str) -> Known:
    random_numbers = np.random.default_rng(0)
    features = {name: random_numbers.normal(size=300) for name in ("a", "b")}
    label = (features["a"] > 0).astype(np.int64)
    model = LogisticRegression().fit(np.column_stack(list(features.values())), label)
    with Client(target, timeout=PATIENCE_SECONDS) as client:
        versions = [client.register(name, model) for name in ("spx", "ndx") for _ in range(3)]
        for version in versions:
            client.set_reference(version, features)
        client.promote("spx/1", to="staging")
        report = client.detect_drift("spx/1", features)
        client.request_retraining("spx")
        job = client.lease_job(holder="a")
    texts = {
        "model": ["spx", "spx", "ndx", "none"],
        "models": ["spx"],
        "holder": ["a"],
        "job_id": [job.job_id],
        "report_id": [report.report_id],
        "schedule_id": ["s1", "s2"],
        "test": ["t1", "t2"],
        "expression": ["30 17 * * 5"],
        "time_zone": ["UTC", "America/New_York", ""],
        "calendar": ["XNYS"],
        "alias": ["latest", "production"],
        "sha256": [file.sha256 for file in versions[0].files],
        "path": [file.path for file in versions[0].files],
        "label": ["label", ""],
        "name": ["a", "b", ""],
        "metric": ["accuracy"],
    }
    empty = ("page_token", "resume_token", "etag", "reference", "id", "returns", "name_prefix")
    return Known(texts | {name: [""] for name in empty}, [arrow(features), arrow(features | {"label": label})])


def arrow(columns: dict[str, np.ndarray]) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.weekly("postgresql")
def test_every_call_refuses_what_is_wrong_and_goes_on(filled: Filled) -> None:
    _attack(filled, range(THREADS), REQUESTS // 10)  # So that what is loaded at the first need is there.
    before = filled.resident_mb()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(_attack, filled, range(THREADS, 2 * THREADS), REQUESTS)
        answered = told.result()
    assert not [one for one in answered if one[1] in FAULTS_OF_OURS], answered
    filled.check()
    assert filled.resident_mb() - before < GROWTH_MB


def _attack(filled: Filled, seeds: Sequence[int], requests: int) -> Counter[tuple[str, grpc.StatusCode]]:
    """Send requests to every call in turn, from several connections, and count the answers."""
    with ThreadPoolExecutor(len(seeds)) as pool:
        parts = pool.map(lambda seed: _attack_from_one(filled, seed, requests // len(seeds)), seeds)
        return sum(parts, Counter())


def _attack_from_one(filled: Filled, seed: int, requests: int) -> Counter[tuple[str, grpc.StatusCode]]:
    hostile, calls, answers = RequestFuzzer(seed, filled.known), methods(), Counter[tuple[str, grpc.StatusCode]]()
    with grpc.insecure_channel(filled.served.target, options=OWN_CONNECTION) as channel:
        for i in range(requests):
            method = calls[(i + seed * len(calls) // THREADS) % len(calls)]
            messages = [hostile.message(method.input_type) for _ in range(1 + hostile.count(2))]
            sent = [hostile.broken(one) if hostile.chance(0.1) else one.SerializeToString() for one in messages]
            seconds = STREAM_SECONDS if method.server_streaming else SECONDS
            answers[method.name, RawCaller(channel, seconds).call(method, sent)] += 1
    return answers


@pytest.mark.weekly("postgresql")
def test_calls_that_are_not_in_the_contract_are_refused(filled: Filled) -> None:
    with grpc.insecure_channel(filled.served.target) as channel:
        for path in ("/", "/modelward.v1.LifecycleService/", "/modelward.v1.LifecycleService/Nothing", "/a/b/c", "//"):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"", timeout=SECONDS)  # type: ignore[arg-type]
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
GREETINGS = [
    b"",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    PREFACE[:10],
    PREFACE + b"\xff" * 100,
    PREFACE + SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1" + b"a" * 10_000,
    PREFACE + SETTINGS * 200,
    PREFACE + SETTINGS + b"\0\0\4\1\4\0\0\0\1\xff\xff\xff\xff",
]


@pytest.mark.weekly("postgresql")
def test_raw_bytes_at_the_port_do_no_harm(filled: Filled) -> None:
    host, port = filled.served.target.split(":")
    numbers = random.Random(1)
    noise = [numbers.randbytes(numbers.randint(1, 5_000)) for _ in range(10_000 if FULL else 50)]
    for greeting in [*GREETINGS, *noise, *(PREFACE + SETTINGS + one for one in noise)]:
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(greeting)
    filled.check()


def test_connections_that_say_nothing_do_no_harm(filled: Filled) -> None:
    host, port = filled.served.target.split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(2_000 if FULL else 200)]
    for connection in silent[::2]:
        connection.sendall(PREFACE[:12])
    filled.check()
    for connection in silent:
        connection.close()


def _mutated(content: bytes, numbers: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(numbers.randint(1, 8)):
        at = numbers.randrange(len(changed))
        changed[at : at + numbers.randint(0, 4)] = numbers.randbytes(numbers.randint(0, 4))
    return bytes(changed)


@pytest.mark.weekly("postgresql")
def test_arrow_streams_with_errors_are_read_or_refused(filled: Filled) -> None:
    numbers, answers = random.Random(2), Counter[grpc.StatusCode]()
    [method] = [one for one in methods() if one.name == "DetectDrift"]
    with grpc.insecure_channel(filled.served.target) as channel:
        for _ in range(50_000 if FULL else 100):
            request = drift_pb2.DetectDriftRequest()
            request.version.model, request.version.version = "spx", 1
            request.data.arrow_ipc = _mutated(filled.known.blobs[0], numbers)
            answers[RawCaller(channel, SECONDS).call(method, [request.SerializeToString()])] += 1
    assert set(answers) <= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, answers
    filled.check()


def test_model_files_with_errors_fail_as_models(filled: Filled, tmp_path: Path) -> None:
    numbers = random.Random(3)
    with Client(filled.served.target, timeout=PATIENCE_SECONDS) as client:
        whole = (client.download("spx/1", tmp_path / "whole") / "model.skops").read_bytes()
        for _ in range(100 if FULL else 1):
            (tmp_path / "model.skops").write_bytes(_mutated(whole, numbers))
            broken = client.register("spx", tmp_path / "model.skops")
            rows = np.random.default_rng(0).normal(size=(50, 2))
            with suppress(ModelFailed):
                client.compare(["spx/1", broken], {"a": rows[:, 0], "b": rows[:, 1]}, np.arange(50) % 2)
    filled.check()


@pytest.mark.weekly("postgresql")
def test_watchers_that_do_not_read_hold_up_nobody(filled: Filled) -> None:
    before = filled.resident_mb()
    channels = [grpc.insecure_channel(filled.served.target, options=OWN_CONNECTION) for _ in range(10)]
    request = lifecycle_pb2.WatchModelsRequest(models=["ndx"])
    watching = [LifecycleServiceStub(channel).WatchModels(request, timeout=PATIENCE_SECONDS) for channel in channels]
    with Client(filled.served.target, timeout=PATIENCE_SECONDS) as client:
        for i in range(2_000 if FULL else 40):
            client.update_model("ndx", description=f"{i} " + "x" * 9_000)
        last = f"{i} "
        assert client.get_model("ndx").description.startswith(last)
    assert filled.resident_mb() - before < GROWTH_MB
    for told in watching[0]:  # Who begins to read at last is told all the same.
        if any(event.HasField("state") and event.state.description.startswith(last) for event in told.events):
            break
    for channel in channels:
        channel.close()


def test_a_watcher_whose_machine_vanished_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = {"grpc.keepalive_time_ms": 1_000, "grpc.http2.ping_timeout_ms": 1_000}
    assert soon.keys() <= dict(app.GRPC_OPTIONS).keys()
    monkeypatch.setattr(app, "GRPC_OPTIONS", [*(dict(app.GRPC_OPTIONS) | soon).items()])
    server = RunningServer(Settings(port=0, data_dir=tmp_path))
    network, ended = FlakyProxy(server.target), threading.Event()
    with grpc.insecure_channel(network.address) as channel:
        stub = LifecycleServiceStub(channel)
        stub.CreateModel(lifecycle_pb2.CreateModelRequest(model="spx"), timeout=PATIENCE_SECONDS)
        watching = stub.WatchModels(lifecycle_pb2.WatchModelsRequest(), timeout=PATIENCE_SECONDS)
        watching.add_callback(ended.set)
        assert next(watching).events[0].model == "spx"
        network.silent = True
        assert ended.wait(PATIENCE_SECONDS)
        assert watching.code() is grpc.StatusCode.UNAVAILABLE
    network.close()
    server.stop()

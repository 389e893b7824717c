"""The whole job by hand, with the real grpcurl: what somebody on call has at three in the morning."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS

BINARY = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")


class Grpcurl:
    """grpcurl on one server."""

    def __init__(self, target: str) -> None:
        assert BINARY, "grpcurl is not installed: pip install -e '.[dev]'"
        self._command, self._target = [BINARY, "-plaintext"], target

    def run(self, *arguments: str, data: object = None) -> "subprocess.CompletedProcess[str]":
        flags = [] if data is None else ["-d", json.dumps(data)]
        command = [*self._command, *flags, self._target, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    def text(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, method: str, data: object) -> Any:
        done = self.run(method, data=data)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stream(self, method: str, data: object) -> list[Any]:
        """Call a method that streams its answer, and return every message."""
        done = self.run(method, data=data)
        assert done.returncode == 0, done.stderr
        return json.loads("[" + done.stdout.replace("\n}\n{", "\n},\n{") + "]")  # type: ignore[no-any-return]

    def refusal(self, method: str, data: object) -> str:
        done = self.run(method, data=data)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the server may read, with models in it."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "model.bin").write_bytes(b"weights")
    for name, sign in (("right", 1), ("wrong", -1)):
        (folder / name).mkdir()
        x = np.linspace(-1, 1, 200)
        skops.io.dump(LogisticRegression().fit(x[:, None], sign * x > 0), folder / name / "model.skops")
    return folder


@pytest.fixture(scope="module")
def grpcurl(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Grpcurl]:
    folder = tmp_path_factory.mktemp("server")
    server = ForkedServer(folder / "data", folder / "log", env={"MODELWARD_ALLOWED_SOURCES": f"{models.as_uri()}/"})
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


def in_production(grpcurl: Grpcurl, model: str, version: int) -> object:
    ref = {"model": model, "version": version}
    for stage in ("STAGE_STAGING", "STAGE_PRODUCTION"):
        grpcurl.call(
            "modelward.v1.LifecycleService/TransitionModelVersion", {"version": ref, "to": stage, "reason": "by hand"}
        )
    return ref


def drifted(grpcurl: Grpcurl, version: object) -> str:
    """Report drift of a version's live data, and return the report's id."""
    calm, wild = columns(volatility=[i / 100 for i in range(200)]), columns(volatility=[i / 10 for i in range(50, 100)])
    grpcurl.call("modelward.v1.DriftService/SetReference", {"header": {"version": version, "data": calm}})
    found = grpcurl.call("modelward.v1.DriftService/DetectDrift", {"version": version, "data": wild})
    report: str = found["report"]["reportId"]
    return report


def test_a_model_is_scheduled_found_due_leased_and_retrained(grpcurl: Grpcurl, registered: str, models: Path) -> None:
    service, model = "modelward.v1.RetrainingService", {"model": registered}
    triggers = [{"periodic": {"cron": {"expression": "30 17 * * FRI", "timeZone": "America/New_York"}}}, {"drift": {}}]
    schedule = grpcurl.call(f"{service}/CreateSchedule", {**model, "triggers": triggers})["schedule"]
    assert schedule["triggers"] == triggers
    assert grpcurl.call(f"{service}/ListDueModels", model) == {}

    report = drifted(grpcurl, in_production(grpcurl, registered, 1))
    [due] = grpcurl.call(f"{service}/ListDueModels", model)["dueModels"]
    assert [reason["drift"]["reportId"] for reason in due["reasons"]] == [report]

    job = grpcurl.call(f"{service}/LeaseJob", {**model, "holder": "grace", "lease": "60s"})["job"]
    assert (job["state"], job["holder"]) == ("JOB_STATE_LEASED", "grace")
    assert "grace" in grpcurl.refusal(f"{service}/LeaseJob", {**model, "holder": "ada"})

    source = {"sourceUri": (models / "right").as_uri()}
    grpcurl.call("modelward.v1.LifecycleService/RegisterModelVersion", {**model, **source})
    done = grpcurl.call(f"{service}/CompleteJob", {"jobId": job["jobId"], "holder": "grace", "successor": 2})["job"]
    assert (done["state"], done["successor"]) == ("JOB_STATE_SUCCEEDED", 2)
    assert grpcurl.call(f"{service}/ListDueModels", model) == {}


def test_a_cron_expression_that_is_none_is_an_error_that_names_it(grpcurl: Grpcurl, registered: str) -> None:
    data = {"model": registered, "triggers": [{"periodic": {"cron": {"expression": "every Friday"}}}]}
    refusal = grpcurl.refusal("modelward.v1.RetrainingService/CreateSchedule", data)
    assert "triggers[0].periodic.cron.expression" in refusal


def test_models_are_compared_on_rows_typed_by_hand(grpcurl: Grpcurl, models: Path, name: str) -> None:
    for kind in ("right", "wrong"):
        data = {"model": name, "sourceUri": (models / kind).as_uri()}
        grpcurl.call("modelward.v1.LifecycleService/RegisterModelVersion", data)
    x = [(i * 37 % 101) / 50 - 1 for i in range(100)]
    truth = {"name": "label", "int64s": {"values": [int(value > 0) for value in x]}}
    table = {"columns": {"columns": [{"name": "x", "doubles": {"values": x}}, truth]}}
    versions = [{"model": name, "version": number} for number in (1, 2)]
    *progress, last = grpcurl.stream(
        "modelward.v1.ComparisonService/CompareModels", {"versions": versions, "data": table, "baseline": versions[1]}
    )
    assert all("progress" in message for message in progress)
    found = last["comparison"]
    assert found["best"] == versions[0]
    assert found["conclusion"]["verdict"] == "VERDICT_SUPERIOR"


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

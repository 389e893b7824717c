"""The clients in other languages, built from the published descriptor set, against a real server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from modelward import Client, ModelVersion
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.common_pb2 import ModelVersionRef
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from tests.system.network import Network
from tests.system.served import Served

ROOT = Path(__file__).parents[2]
DESCRIPTORS = ROOT / "protos" / "modelward.binpb"
BUILD_SECONDS = 300
CALL_SECONDS = 30
UNITS = 20


class Program:
    """A client in another language."""

    def __init__(self, *command: object) -> None:
        self._command = [str(part) for part in command]
        self._env = os.environ | {"MODELWARD_DESCRIPTORS": str(DESCRIPTORS)}

    @contextmanager
    def started(self, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
        """Run it beside the test; it ends with the block."""
        command = [*self._command, *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._env) as running:
            try:
                yield running
            finally:
                running.kill()

    def run(self, *arguments: object) -> str:
        """Return what it prints."""
        done = self._done(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def refused(self, *arguments: object) -> list[str]:
        """Return the lines in which it explains a failed call."""
        done = self._done(*arguments)
        assert done.returncode == 1, done.stderr
        return done.stderr.strip().splitlines()

    def _done(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [*self._command, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=self._env, timeout=CALL_SECONDS, check=False)


@pytest.fixture(scope="module", params=["cpp", "node"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp(request.param)
    return {"cpp": built_cpp, "node": installed_node}[request.param](folder)


def built_cpp(folder: Path) -> Program:
    _need("cmake", "g++", "protoc", "grpc_cpp_plugin", "pkg-config")
    if subprocess.run(["pkg-config", "--exists", "grpc++"], check=False).returncode:
        pytest.skip("gRPC for C++ is not installed: apt-get install libgrpc++-dev")
    _make("cmake", "-S", ROOT / "examples" / "cpp", "-B", folder, "-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_CXX_FLAGS=-O0")
    _make("cmake", "--build", folder, "--parallel", 2)
    return Program(folder / "modelward-example")


def installed_node(folder: Path) -> Program:
    _need("node", "npm")
    for file in (ROOT / "examples" / "node").glob("*.js*"):
        shutil.copy(file, folder)
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install @grpc/grpc-js: {done.stderr.strip()[-200:]}")
    return Program("node", folder / "main.js")


def _need(*programs: str) -> None:
    if missing := [name for name in programs if not shutil.which(name)]:
        pytest.skip(f"not installed: {', '.join(missing)}")


def _make(*command: object) -> None:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=BUILD_SECONDS, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    running = Served(folder / "data", folder / "log")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def version(served: Served, tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    """A version in production."""
    path = tmp_path_factory.mktemp("model") / "model.bin"
    path.write_bytes(b"weights")
    with Client(served.target) as client:
        version = client.register("spx", path)
        client.promote(version, to="staging")
        return client.promote(version, to="production").version


def test_it_resolves(program: Program, served: Served, version: ModelVersion) -> None:
    assert program.run(served.target, "resolve", "spx") == f"spx/1 {version.digest}"


def test_it_watches_and_goes_on_after_a_break(
    program: Program, served: Served, version: ModelVersion, tmp_path: Path
) -> None:
    model, network = f"watched-{tmp_path.name}", Network(served.target)
    (tmp_path / "model.bin").write_bytes(b"weights")
    with Client(served.target) as client:
        client.register(model, tmp_path / "model.bin")
        with program.started(network.address, "watch", model, 3) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline() == f"state {model} production 0\n"
            network.breaks_at.append(0)  # As soon as the next bytes have been carried.
            client.promote(f"{model}/1", to="staging")
            assert watching.stdout.readline() == f"transition {model}/1 STAGE_STAGING\n"
            client.promote(f"{model}/1", to="production")
            assert watching.stdout.readline() == f"transition {model}/1 STAGE_PRODUCTION\n"
            assert watching.wait(CALL_SECONDS) == 0
    network.close()


def test_it_records_outcomes_once(program: Program, served: Served, version: ModelVersion, tmp_path: Path) -> None:
    outcome = (served.target, "record", "spx", 1, tmp_path.name, 1.5, 2.0)
    assert program.run(*outcome) == "predictions 1 labels 1"
    assert program.run(*outcome) == "predictions 0 labels 0"


def test_it_reads_why_a_model_was_not_found(program: Program, served: Served) -> None:
    status, *details = program.refused(served.target, "resolve", "none-such")
    assert status.startswith("status: 5 ")
    assert details == ["reason: MODEL_NOT_FOUND", "fact: model=none-such"]


def test_it_reads_which_field_is_wrong(program: Program, served: Served) -> None:
    status, reason, field = program.refused(served.target, "resolve", "no/name")
    assert status.startswith("status: 3 ")
    assert reason == "reason: INVALID_FIELD"
    assert field.startswith("field: model: must begin with a letter or digit")


# From the known answers of GrowthBook's SDKs: seed, value, bucket.
HASHES = [
    ("seed", "a", 505),
    ("seed", "b", 2696),
    ("foo", "ab", 2575),
    ("foo", "def", 2019),
    ("90850943850283058242805", "123", 7516),
    ("()**(%$##$%#$#", '___)((*":&', 128),
]


@pytest.mark.parametrize(("salt", "unit", "bucket"), HASHES)
def test_it_deals_units_into_known_buckets(program: Program, salt: str, unit: str, bucket: int) -> None:
    assert program.run("-", "bucket", salt, unit, 1, 1).split()[0] == str(bucket)


@pytest.mark.parametrize(
    ("coverage", "weights", "index"),
    [
        (1, (1, 1), 0),
        (1, (1, 9), 1),
        (0.5, (1, 1), 0),
        (0.4, (1, 1), -1),  # Of its half of the buckets, 0 to 4,999, a variant gets those below 2,000.
        (1, (0.1, 0.1, 0.8), 2),
    ],
)
def test_weights_and_coverage_say_whose_a_bucket_is(
    program: Program, coverage: float, weights: tuple[float, ...], index: int
) -> None:
    assert program.run("-", "bucket", "foo", "def", coverage, *weights) == f"2019 {index}"


def test_it_assigns_as_the_server_does(program: Program, served: Served, version: ModelVersion, tmp_path: Path) -> None:
    test = f"ab-{tmp_path.name}"
    _create_ab_test(served.target, test)
    for unit in (f"账户-{i}" for i in range(UNITS)):
        here, there = program.run(served.target, "assign", test, unit).splitlines()
        assert here.removeprefix("here ") == there.removeprefix("server ")
    outcome = (served.target, "outcome", test, "order-1", "账户-1", "pnl", 0.25)
    assert program.run(*outcome) == "recorded 1 repeated 0"
    assert program.run(*outcome) == "recorded 0 repeated 1"


def _create_ab_test(target: str, test: str) -> None:
    variants = [
        pb.Variant(name=name, weight=weight, version=ModelVersionRef(model="spx", version=1))
        for name, weight in (("champion", 2), ("challenger", 1))
    ]
    metric = pb.AbMetric(key="pnl")
    request = pb.CreateAbTestRequest(
        ab_test=pb.AbTest(test=test, variants=variants, coverage=0.8, primary_metric=metric)
    )
    with grpc.insecure_channel(target) as channel:
        try:
            ComparisonServiceStub(channel).CreateAbTest(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                pytest.skip("this server does not serve A/B tests yet")
            raise

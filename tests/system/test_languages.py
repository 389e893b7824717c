"""The clients in other languages, built as docs/languages.md says, against a real server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from modelward import AbNamespace, Client, ModelVersion
from tests.support.abtest_known_answers import HASHES, NAMESPACES
from tests.support.document_runner import TARGET
from tests.support.documents import ROOT, blocks
from tests.support.flaky_proxy import FlakyProxy
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.weekly  # Needs toolchains.

MODEL = "spx-direction"
DESCRIPTORS = ROOT / "protos" / "modelward.binpb"
RELEASED = ROOT / "protos" / "released" / "modelward-0.1.0.binpb"
PAGE = ROOT / "docs" / "languages.md"
GO_PACKAGES = Path("/usr/share/gocode/src")
"""Where Debian puts Go's packages."""
BUILD_SECONDS = 3600
LANGUAGES = ["cpp", "node", "go"]
UNITS = [f"账户-{number}" for number in range(40)]


class Program:
    """A client in another language."""

    def __init__(self, *command: object) -> None:
        self._command = [str(part) for part in command]
        self._env = os.environ | {"MODELWARD_DESCRIPTORS": str(DESCRIPTORS)}

    def released(self) -> "Program":
        """Return the program with the contract of the last release, where it reads the contract as it runs."""
        other = Program(*self._command)
        other._env = self._env | {"MODELWARD_DESCRIPTORS": str(RELEASED)}
        return other

    @contextmanager
    def started(self, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
        """Run it beside the test; it ends with the block."""
        command = [*self._command, *map(str, arguments)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self._env) as running:
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
        return subprocess.run(
            command, capture_output=True, text=True, env=self._env, timeout=PATIENCE_SECONDS, check=False
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the page has: the examples and the protos, in a folder that may be written to."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("node_modules"))
    (folder / "protos").symlink_to(ROOT / "protos")
    return folder


@pytest.fixture(scope="module", params=LANGUAGES)
def program(request: pytest.FixtureRequest, checkout: Path, served: ForkedServer, version: ModelVersion) -> Program:
    build = {"cpp": built_cpp, "node": installed_node, "go": built_go}[request.param]
    return build(checkout, served.target)


def built_cpp(checkout: Path, target: str) -> Program:
    _need("cmake", "g++", "protoc", "grpc_cpp_plugin", "pkg-config")
    if subprocess.run(["pkg-config", "--exists", "grpc++"], check=False).returncode:
        pytest.skip("gRPC for C++ is not installed: apt-get install libgrpc++-dev")
    _follow_the_page("cmake ", checkout, target)
    return Program(checkout / "build" / "modelward-example")


def installed_node(checkout: Path, target: str) -> Program:
    _need("node", "npm")
    command = ["npm", "view", "@grpc/grpc-js", "version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install @grpc/grpc-js: {done.stderr.strip()[-200:]}")
    _follow_the_page("cd examples/node ", checkout, target)
    return Program("node", checkout / "examples" / "node" / "main.js")


def built_go(checkout: Path, target: str) -> Program:
    _need("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc")
    packages = ("google.golang.org/grpc/go.mod", "github.com/golang/protobuf/proto/registry.go")
    if missing := [name for name in packages if not (GO_PACKAGES / name).exists()]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    _follow_the_page("mkdir -p go/", checkout, target)
    return Program(checkout / "go" / "src" / "modelward.example" / "client" / "modelward-example")


def _follow_the_page(start: str, checkout: Path, target: str) -> None:
    """Run the block of docs/languages.md that begins so; its last line resolves the model."""
    [block] = [block for block in blocks(PAGE) if block.language == "sh" and block.text.startswith(start)]
    script = block.text.replace(TARGET, target)
    command, env = ["bash", "-e", "-c", script], os.environ | {"CMAKE_BUILD_PARALLEL_LEVEL": "2"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False, cwd=checkout, env=env
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith(f"{MODEL}/1 ")


def _need(*programs: str) -> None:
    if missing := [name for name in programs if not shutil.which(name)]:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedServer]:
    folder = tmp_path_factory.mktemp("served")
    running = ForkedServer(folder / "data", folder / "log", env={"MODELWARD_SCORING_PROCESSES": "2"})
    yield running
    running.kill()


@pytest.fixture(scope="module")
def version(served: ForkedServer, tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    """A version in production."""
    path = tmp_path_factory.mktemp("model") / "model.bin"
    path.write_bytes(b"weights")
    with Client(served.target) as client:
        version = client.register(MODEL, path)
        client.promote(version, to="staging")
        return client.promote(version, to="production", reason="it passed its tests").version


def test_it_resolves(program: Program, served: ForkedServer, version: ModelVersion) -> None:
    assert program.run(served.target, "resolve", MODEL) == f"{MODEL}/1 {version.digest}"


def test_it_watches_and_goes_on_after_a_break(
    program: Program, served: ForkedServer, version: ModelVersion, tmp_path: Path
) -> None:
    model, network = f"watched-{tmp_path.name}", FlakyProxy(served.target)
    (tmp_path / "model.bin").write_bytes(b"weights")
    with Client(served.target) as client:
        client.register(model, tmp_path / "model.bin")
        with program.started(network.address, "watch", model, 3) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline() == f"state {model} production 0\n"
            network.breaks_at.append(0)  # As soon as the next bytes have been carried.
            client.promote(f"{model}/1", to="staging")
            assert watching.stdout.readline() == f"transition {model}/1 STAGE_STAGING\n"
            client.promote(f"{model}/1", to="production", reason="it passed its tests")
            assert watching.stdout.readline() == f"transition {model}/1 STAGE_PRODUCTION\n"
            assert watching.wait(PATIENCE_SECONDS) == 0
    network.close()


@pytest.mark.parametrize("program", ["cpp", "node"], indirect=True)
def test_it_answers_a_drill(program: Program, served: ForkedServer, version: ModelVersion) -> None:
    with Client(served.target) as client:
        client.report_active(version, engine="not-in-python")
        [drill] = client.start_drill(MODEL, reason="yearly test", timeout=timedelta(minutes=5))
        assert program.run(served.target, "drill", MODEL, "not-in-python") == f"answered {drill.drill_id}"
        [engine] = client.get_drill(drill.drill_id).engines
        assert (engine.engine, engine.proof, engine.stopped_after is None) == ("not-in-python", "proven", False)


def test_it_skips_events_that_came_after_its_contract(
    program: Program, served: ForkedServer, version: ModelVersion, tmp_path: Path
) -> None:
    model = f"drilled-{tmp_path.name}"
    (tmp_path / "model.bin").write_bytes(b"weights")
    with Client(served.target) as client:
        client.register(model, tmp_path / "model.bin")
        with program.released().started(served.target, "watch", model, 3) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline() == f"state {model} production 0\n"
            client.start_drill(model, reason="yearly test")
            client.promote(f"{model}/1", to="staging")
            assert watching.stdout.readline().startswith("event ")
            assert watching.stdout.readline() == f"transition {model}/1 STAGE_STAGING\n"
            assert watching.wait(PATIENCE_SECONDS) == 0


def test_it_records_outcomes_once(
    program: Program, served: ForkedServer, version: ModelVersion, tmp_path: Path
) -> None:
    outcome = (served.target, "record", MODEL, 1, tmp_path.name, 1.5, 2.0)
    assert program.run(*outcome) == "predictions 1 labels 1"
    assert program.run(*outcome) == "predictions 0 labels 0"


ROWS = pd.DataFrame({"momentum": [0.0, 1.0, 2.0, 5.0], "volume": [1.0, -1.0, 3.0, 0.0]})


def promoted(client: Client, name: str, slope: float) -> None:
    """Put a model into production that predicts the volume, and the momentum times the slope."""
    model = LinearRegression().fit(ROWS, slope * ROWS.momentum + ROWS.volume)
    version = client.register(name, model, reference=ROWS)
    client.promote(version, to="staging")
    client.promote(version, to="production", reason="it passed its tests")


@pytest.mark.parametrize("program", ["cpp", "node"], indirect=True)
def test_it_scores_a_row(program: Program, served: ForkedServer, version: ModelVersion, tmp_path: Path) -> None:
    name = f"scored-{tmp_path.name}"
    with Client(served.target) as client:
        promoted(client, name, 2.0)
    answered, number = program.run(served.target, "score", name, "momentum=1.5", "volume=0.25").split()
    assert answered == f"{name}/1"
    assert float(number) == pytest.approx(3.25)


@pytest.mark.parametrize("program", ["cpp", "node"], indirect=True)
def test_an_engine_scores_each_tick_and_goes_on_after_a_promotion(
    program: Program, served: ForkedServer, version: ModelVersion, tmp_path: Path
) -> None:
    name = f"traded-{tmp_path.name}"
    with Client(served.target) as client:
        promoted(client, name, 2.0)
        with program.started(served.target, "engine", name) as engine:
            _until(engine, f"state {name} production 1")
            _check_ticks(engine, f"{name}/1", 2.0)
            promoted(client, name, 4.0)
            _until(engine, f"transition {name}/2 STAGE_PRODUCTION")
            _check_ticks(engine, f"{name}/2", 4.0)
            assert engine.stdin is not None
            engine.stdin.close()
            assert engine.wait(PATIENCE_SECONDS) == 0


def _until(engine: "subprocess.Popen[str]", line: str) -> None:
    """Read until a change is told."""
    assert engine.stdout is not None
    assert any(told == f"{line}\n" for told in engine.stdout)


def _check_ticks(engine: "subprocess.Popen[str]", version: str, slope: float) -> None:
    """Send ticks, and check which version answers each of them, and what."""
    assert engine.stdin is not None
    assert engine.stdout is not None
    for momentum in (0.0, 1.5):
        engine.stdin.write(f"momentum={momentum} volume=0.25\n")
        engine.stdin.flush()
        answered, number = engine.stdout.readline().split()
        assert answered == version
        assert float(number) == pytest.approx(slope * momentum + 0.25)


def test_it_reads_why_a_model_was_not_found(program: Program, served: ForkedServer) -> None:
    status, *details = program.refused(served.target, "resolve", "none-such")
    assert status.startswith("status: 5 ")
    assert details == ["reason: MODEL_NOT_FOUND", "fact: model=none-such"]


def test_it_reads_which_field_is_wrong(program: Program, served: ForkedServer) -> None:
    status, reason, field = program.refused(served.target, "resolve", "no/name")
    assert status.startswith("status: 3 ")
    assert reason == "reason: INVALID_FIELD"
    assert field.startswith("field: model: must begin with a letter or digit")


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


@pytest.mark.parametrize(("unit", "namespace", "inside"), NAMESPACES)
def test_it_knows_who_belongs_to_a_namespace(program: Program, unit: str, namespace: str, inside: bool) -> None:
    assert program.run("-", "namespace", unit, namespace, 0, 0.4) == str(inside).lower()
    assert program.run("-", "namespace", unit, namespace, 0.4, 1) == str(not inside).lower()


@pytest.mark.parametrize("kind", ["plain", "namespace", "shadow", "concluded", "nobody"])
def test_it_assigns_as_the_server_does(program: Program, served: ForkedServer, tmp_path: Path, kind: str) -> None:
    test = f"{kind}-{tmp_path.name}"
    with Client(served.target) as client:
        _create_ab_test(client, test, kind)
    lines = program.run(served.target, "assign", test, *UNITS).splitlines()
    here, there = ([line.removeprefix(of) for line in lines if line.startswith(of)] for of in ("here ", "server "))
    assert len(here) == len(UNITS)
    assert here == there
    assert {(line.split()[0], line.split()[2]) for line in here} == ANSWERS[kind]


ANSWERS = {
    "plain": {("champion", "true"), ("challenger", "true"), ("champion", "false")},
    "namespace": {("champion", "true"), ("challenger", "true"), ("champion", "false")},
    "shadow": {("champion", "true"), ("champion", "false")},
    "concluded": {("challenger", "false")},
    "nobody": {("champion", "false")},
}
"""Which variants units got, and whether they took part."""


def _create_ab_test(client: Client, test: str, kind: str) -> None:
    client.create_ab_test(
        test,
        {"champion": f"{MODEL}/1", "challenger": f"{MODEL}/1"},
        weights={"champion": 2, "challenger": 1},
        coverage={"everyone": 1.0, "nobody": 0.0}.get(kind, 0.8),
        primary_metric="pnl",
        namespace=AbNamespace("exits", 0.25, 0.75) if kind == "namespace" else None,
        shadow=kind == "shadow",
    )
    if kind == "concluded":
        client.conclude_ab_test(test, winner="challenger", reason="by hand")


def test_it_records_outcomes_of_a_test_once(program: Program, served: ForkedServer, tmp_path: Path) -> None:
    test = f"ab-{tmp_path.name}"
    with Client(served.target) as client:
        _create_ab_test(client, test, "everyone")
    outcome = (served.target, "outcome", test, "order-1", "账户-1", "pnl", 0.25)
    assert program.run(*outcome) == "recorded 1 repeated 0"
    assert program.run(*outcome) == "recorded 0 repeated 1"

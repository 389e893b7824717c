"""The base distribution alone, in a clean environment: what a trading engine installs."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelward import Client
from tests.support.packages import need_index, new_environment, succeed, uv
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
HEAVY = ("mlflow", "pandas", "sklearn", "scipy", "pyarrow")

NOT_INSTALLED = f"""
import importlib.util, sys
print(*[name for name in {HEAVY!r} if importlib.util.find_spec(name)])
import modelward, modelward.errors, modelward.data
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""

RESOLVE_AND_DOWNLOAD = """
import sys
from pathlib import Path
from modelward import Client
target, folder = sys.argv[1:]
with Client(target) as client:
    version = client.resolve("lean").version
    path = client.download(version, folder)
print(version, Path(path, "model.bin").read_text())
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the source distribution, and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    need_index(folder)
    succeed(uv("build", "--out-dir", str(folder), str(ROOT)))
    return folder


@pytest.fixture(scope="module")
def clean_python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but the built wheel and what it requires."""
    [wheel] = dist.glob("modelward-*.whl")
    return new_environment(tmp_path_factory.mktemp("clean") / "venv", str(wheel)) / "python"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path / "data", tmp_path / "log")
    yield running
    running.kill()


def run(python: Path, program: str, *arguments: str) -> str:
    """Run a program far from the checkout, so that only what is installed can be imported."""
    command = [str(python), "-I", "-W", "error", "-c", program, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=python.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_two_packages_typed_and_licensed(dist: Path) -> None:
    [wheel] = dist.glob("modelward-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"{wheel.name.partition('-py3')[0]}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"modelward", "modelward_server", info}
    assert {"modelward/py.typed", "modelward_server/py.typed", f"{info}/licenses/LICENSE"} <= names
    assert "modelward_server/reports/report.css" in names


def test_the_source_distribution_holds_protos_and_documents_but_nothing_hidden(dist: Path) -> None:
    [source] = dist.glob("modelward-*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "constraints.txt", "docs/contract.md"} <= names
    assert {"protos/modelward/v1/common.proto", "protos/modelward.binpb", "client/modelward/v1/common_pb2.py"} <= names
    left = {name for name in names if name.startswith(".") or "__pycache__" in name}
    assert left - {".gitignore"} == set()


def test_an_index_would_accept_both(dist: Path) -> None:
    files = [str(path) for path in dist.glob("modelward-*")]
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout


def test_nothing_heavy_is_installed_or_imported(clean_python: Path) -> None:
    assert run(clean_python, NOT_INSTALLED).split() == []


def test_it_resolves_and_downloads(clean_python: Path, server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("weights")
    with Client(server.target) as client:
        version = client.register("lean", tmp_path / "model.bin")
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
    said = run(clean_python, RESOLVE_AND_DOWNLOAD, server.target, str(tmp_path / "got"))
    assert said.split() == ["lean/1", "weights"]


def test_the_command_says_what_it_lacks(clean_python: Path) -> None:
    command = [str(clean_python.parent / "modelward"), "models"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode != 0
    assert "modelward[cli]" in done.stderr
    assert "Traceback" not in done.stderr

"""The base distribution alone, in a clean environment: what a trading engine installs."""

import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelward import Client
from tests.support.server_process import ServerProcess

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


def pip(python: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but the built wheel and what it requires."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    reached = pip(python, "download", "--no-deps", "--dest", str(folder / "probe"), "hatchling")
    if reached.returncode:
        pytest.skip(f"needs a package index: {reached.stderr.strip()[-200:]}")
    built = pip(python, "wheel", "--no-deps", "--wheel-dir", str(folder / "wheel"), str(ROOT))
    assert built.returncode == 0, built.stderr
    [wheel] = (folder / "wheel").glob("modelward-*.whl")
    installed = pip(python, "install", str(wheel))
    assert installed.returncode == 0, installed.stderr
    return python


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(tmp_path / "data", tmp_path / "log")
    yield running
    running.kill()


def run(python: Path, program: str, *arguments: str) -> str:
    """Run a program far from the checkout, so that only what is installed can be imported."""
    command = [str(python), "-I", "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_heavy_is_installed_or_imported(clean_python: Path) -> None:
    assert run(clean_python, NOT_INSTALLED).split() == []


def test_it_resolves_and_downloads(clean_python: Path, server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("weights")
    with Client(server.target) as client:
        version = client.register("lean", tmp_path / "model.bin")
        client.promote(version, to="staging")
        client.promote(version, to="production")
    said = run(clean_python, RESOLVE_AND_DOWNLOAD, server.target, str(tmp_path / "got"))
    assert said.split() == ["lean/1", "weights"]


def test_the_command_says_what_it_lacks(clean_python: Path) -> None:
    command = [str(clean_python.parent / "modelward"), "models"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "modelward[cli]" in done.stderr
    assert "Traceback" not in done.stderr

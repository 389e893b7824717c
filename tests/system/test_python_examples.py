"""The programs and the notebook of examples/python do what they say, against a real server."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import nbformat
import pytest
from nbclient import NotebookClient

from modelward import Client, MetricRange, PromotionPolicy
from tests.support.documents import ROOT
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS

FOLDER = ROOT / "examples" / "python"
NOTEBOOK = FOLDER / "registry.ipynb"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedServer]:
    folder = tmp_path_factory.mktemp("server")
    running = ForkedServer(folder / "data", folder / "log")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def model(server: ForkedServer) -> str:
    """A model with a version in production, as the trainer leaves it."""
    return trained(server)


def trained(server: ForkedServer) -> str:
    """Run the trainer for a model of a new name."""
    name = f"spx-{uuid4().hex[:8]}"
    assert said("trainer.py", name, "--server", server.target).endswith(f"{name}/1 is in production\n")
    return name


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(FOLDER / program), *arguments]


def said(program: str, *arguments: str, code: int = 0) -> str:
    """Run a program to its end, and return what it prints."""
    done = subprocess.run(
        command(program, *arguments), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@contextmanager
def started(log: Path, program: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program beside the test."""
    with log.open("w") as sink, subprocess.Popen(command(program, *arguments), stdout=sink, stderr=sink) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in log.read_text():
        assert time.monotonic() < deadline, f"{text!r} is not in:\n{log.read_text()}"
        time.sleep(0.05)


@pytest.mark.weekly
def test_trainer_prints_the_gates_that_refuse_its_version(server: ForkedServer) -> None:
    model = f"spx-{uuid4().hex[:8]}"
    with Client(server.target) as mw:
        mw.create_model(model)
        mw.set_promotion_policy(PromotionPolicy(model, metrics=(MetricRange("accuracy", at_least=0.99),)))
        assert "metrics.accuracy failed: accuracy" in said("trainer.py", model, "--server", server.target, code=1)
        assert mw.get_model(model).production_version == 0
        assert mw.get_version(f"{model}/1").references == ("default",)


def test_engine_switches_and_goes_on_without_a_server(tmp_path: Path) -> None:
    server = ForkedServer(tmp_path / "data", tmp_path / "server.log")
    model = trained(server)
    log, cache = tmp_path / "engine.log", str(tmp_path / "cache")
    known = (model, "--server", server.target, "--name", "ny4-07", "--cache", cache)
    with started(log, "engine.py", *known, "--seconds", "600") as engine:
        wait_for(log, f"running {model}/1")
        said("trainer.py", model, "--server", server.target, "--strength", "0.1")
        wait_for(log, f"running {model}/2")
        with Client(server.target) as mw:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while (found := [(e.engine, e.version) for e in mw.get_rollout(model).engines]) != [("ny4-07", 2)]:
                assert time.monotonic() < deadline, found
                time.sleep(0.05)
        server.kill()
        time.sleep(2)
        assert engine.poll() is None, log.read_text()
    alone = said("engine.py", *known, "--seconds", "3").splitlines()
    assert alone[0] == f"running {model}/2"
    assert int(alone[-1].split()[1]) > 0


@pytest.mark.weekly
def test_engine_stands_aside_while_its_model_is_halted(server: ForkedServer, model: str, tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    given = (model, "--server", server.target, "--cache", str(tmp_path / "cache"), "--seconds", "600")
    with started(log, "engine.py", *given), Client(server.target) as mw:
        wait_for(log, f"running {model}/1")
        mw.halt(model, reason="exchange outage")
        wait_for(log, "standing aside: ")
        assert "exchange outage" in log.read_text()
        mw.resume(model)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while log.read_text().count(f"running {model}/1") < 2:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def test_monitor_receives_the_alarm_of_a_market_that_moved(server: ForkedServer, model: str) -> None:
    calm = said("monitor.py", model, "--server", server.target, "--windows", "3")
    assert "drift alarm" not in calm
    assert "600 of 600 rows have a label; accuracy 0." in calm
    moved = said("monitor.py", model, "--server", server.target, "--windows", "3", "--shift", "2")
    assert "drift alarm: " in moved


def read() -> Any:
    reader: Any = nbformat
    return reader.read(NOTEBOOK, as_version=4)


def test_notebook_runs_from_top_to_bottom(
    server: ForkedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELWARD_SERVER", server.target)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")]))
    notebook = read()
    done = NotebookClient(notebook, timeout=PATIENCE_SECONDS, kernel_name="python3").execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    shown = [kind for output in outputs for kind in output.get("data", ())]
    assert shown.count("image/png") == 2
    assert shown.count("text/html") >= 2
    assert not [output for output in outputs if output.output_type == "error"]


def test_notebook_is_stored_without_outputs() -> None:
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def test_desk_promotes_the_better_version_and_retrains_after_an_alarm(server: ForkedServer) -> None:
    model = f"stocks-{uuid4().hex[:8]}"
    told = said("desk.py", model, "--server", server.target)
    for fact in (
        "of 6 configurations",
        f"{model}/2 is better",
        f"{model}/2 is in production",
        "due: drift",
        f"{model}/3",
    ):
        assert fact in told, told
    with Client(server.target) as mw:
        assert mw.resolve(model).version.version == 2
        assert mw.get_version(f"{model}/2").folds

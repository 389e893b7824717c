"""The demo, as a newcomer runs it: it ends well, and what it tells is what the registry knows."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow
import pytest
from matplotlib.image import imread

from modelward import Client, FollowUpState, Stage
from tests.support.forked_server import ForkedServer
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

MODEL = "spx-direction"


@dataclass(frozen=True)
class Told:
    """A demo that has ended."""

    folder: Path
    output: str
    exit_code: int


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("demo") / "kept"
    command = [sys.executable, "-m", "modelward", "demo", "--keep", str(folder)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=os.environ | {"COLUMNS": "400"},
    )
    return Told(folder, done.stdout + done.stderr, done.returncode)


@pytest.fixture(scope="module")
def console_port() -> int:
    """A port for the console of a new server, in place of the usual one."""
    return free_port()


@pytest.fixture(scope="module")
def client(told: Told, console_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a new server on the data that the demo kept."""
    log = tmp_path_factory.mktemp("again") / "log"
    server = ForkedServer(told.folder, log, "--console-port", str(console_port))
    with Client(server.target) as client:
        yield client
    server.kill()


def test_it_ends_well(told: Told) -> None:
    assert told.exit_code == 0, told.output
    assert "Traceback" not in told.output


def test_it_leaves_a_picture(told: Told) -> None:
    assert imread(told.folder / "modelward-demo-drift.png").std() > 0.05


def test_its_last_lines_name_the_console_of_the_data_that_it_kept(
    told: Told, console_port: int, client: Client
) -> None:
    command, address = (
        re.findall(rf"{label}: +(.+)", told.output)[-1] for label in ("Start it again", "Open its console")
    )
    assert command == f"modelward serve --data-dir {told.folder} --console-port 50062"
    page = httpx.get(address.replace("50062", str(console_port)))
    assert (page.status_code, f"<h1>{MODEL}</h1>" in page.text) == (200, True)


def test_drift_is_seen_in_2008_and_not_before(told: Told, client: Client) -> None:
    reports = {report.label: report.drift_detected for report in client.list_drift_reports(MODEL)}
    assert len(reports) == 16
    assert any(reports[f"2008 Q{quarter}"] for quarter in (1, 2, 3, 4))
    assert not any(reports[f"2007 Q{quarter}"] for quarter in (1, 2, 3, 4))
    for label, detected in reports.items():
        [line] = [line for line in told.output.splitlines() if line.strip().startswith(f"{label} ")]
        assert ("drift in" in line) is detected


def test_every_promotion_that_it_tells_is_on_record(told: Told, client: Client) -> None:
    moves = [move for move in client.list_transitions(MODEL) if move.to_stage is Stage.PRODUCTION]
    promoted = [move.version.version for move in reversed(moves)]
    assert promoted[1:] == [int(number) for number in re.findall(r"Version (\d+) is promoted", told.output)]
    assert len(promoted) > 1
    assert all(move.reason for move in moves)
    assert client.resolve(MODEL).version.version == promoted[-1]
    archived = client.list_versions(MODEL, stages=["archived"])
    assert {version.version for version in archived} >= set(promoted[:-1])


def test_it_tells_what_the_version_in_production_scores(told: Told, client: Client) -> None:
    assert re.findall(r"after 2010-12-31, (\S+) gives a rise a probability of \d+", told.output) == [
        str(client.resolve(MODEL).version)
    ]


def test_every_job_was_completed_and_its_successor_judged_by_the_policy(client: Client) -> None:
    jobs = list(client.list_jobs(MODEL))
    states = {job.follow_up.state for job in jobs if job.follow_up}
    assert jobs
    assert all(job.successor for job in jobs)
    assert FollowUpState.PROMOTED in states <= {FollowUpState.PROMOTED, FollowUpState.REFUSED}
    judged = {job.successor for job in jobs if job.follow_up and job.follow_up.state is FollowUpState.PROMOTED}
    moved = {move.version.version for move in client.list_transitions(MODEL) if move.actor == "modelward"}
    assert judged <= moved


def test_mlflow_shows_every_version_and_its_stage(told: Told, client: Client) -> None:
    store = mlflow.MlflowClient(f"sqlite:///{told.folder / 'mlflow.db'}")
    production = client.resolve(MODEL).version
    assert store.get_model_version_by_alias(MODEL, "production").run_id == production.run_id
    for version in client.list_versions(MODEL):
        run = store.get_run(version.run_id)
        assert run.data.metrics["brier"] == pytest.approx(version.metrics["brier"])
        assert store.get_model_version(MODEL, version.mlflow_version).tags["modelward.stage"] == version.stage

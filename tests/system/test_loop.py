"""The whole loop, in processes as in production: the market leaves the training data, drift makes the model due, a
worker trains, the server compares and promotes, and a trading engine has the new version.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from modelward import Client, DriftEvidence, FollowUpAction, FollowUpState, JobState, RetrainingPolicy, RolloutState
from tests.support.server_process import bare_environment
from tests.support.waiting import PATIENCE_SECONDS
from tests.system.conftest import Serve

MODEL = "spx-direction"
ROOT = Path(__file__).parents[2]
random = np.random.default_rng(5)


def _market(level: float, rows: int = 1500) -> pd.DataFrame:
    """Make a market in which a rise follows whenever the fast signal is above its level."""
    fast, slow = random.normal(level, 1.0, rows), random.normal(0.0, 1.0, rows)
    return pd.DataFrame({"fast": fast, "slow": slow, "label": (fast > level).astype(int)})


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[Any]]]:
    """Those that a test starts; none is left behind."""
    started: list[subprocess.Popen[Any]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_from_a_drift_alarm_to_another_version_in_the_engine(
    serve: Serve, tmp_path: Path, processes: list[subprocess.Popen[Any]]
) -> None:
    old, new, unseen = _market(0.0), _market(4.0), _market(4.0)
    new.to_parquet(tmp_path / "new.parquet")
    unseen.to_parquet(tmp_path / "unseen.parquet")
    server = serve(env={"MODELWARD_ALLOWED_SOURCES": tmp_path.as_uri()})
    with Client(server.target, actor="ada") as client:
        _prepare(client, old, tmp_path)
        _start(processes, tmp_path, "modelward", "worker", "--server", server.target, "--queue", "nightly", TRAIN)
        engine = _start(
            processes, tmp_path, "tests.support.e2e_processes", server.target, MODEL, str(tmp_path / "cache")
        )
        assert _line(engine) == "1 1"  # A fast signal of 2 means a rise in the old market.
        report = client.detect_drift(f"{MODEL}/1", new[["fast", "slow"]])
        assert report.drift_detected
        assert _line(engine) == "2 0"  # And none in the new one.
        [job] = client.list_jobs(MODEL)
        assert [type(reason.evidence) for reason in job.reasons] == [DriftEvidence]
        assert (job.state, job.version, job.successor) == (JobState.SUCCEEDED, 1, 2)
        assert job.follow_up is not None
        assert job.follow_up.state is FollowUpState.PROMOTED
        assert job.follow_up.reason == f"{MODEL}/2 is superior to {MODEL}/1 by accuracy"
        assert _engine_state(client) == (2, RolloutState.CONVERGED)
        assert list(client.list_due()) == []


TRAIN = "tests.support.e2e_processes:train"


def _prepare(client: Client, old: pd.DataFrame, folder: Path) -> None:
    """Put a model of the old market into production, and say what is to happen when the market changes."""
    features = old[["fast", "slow"]]
    champion = client.register(MODEL, LogisticRegression().fit(features.to_numpy(), old["label"]), reference=features)
    client.promote(champion, to="staging")
    client.promote(champion, to="production", reason="it passed its tests")
    client.create_schedule(MODEL, drift=True)
    client.set_retraining_policy(
        RetrainingPolicy(
            MODEL,
            queue="nightly",
            parameters={"data": str(folder / "new.parquet")},
            follow_up=FollowUpAction.PROMOTE,
            evaluation_uri=(folder / "unseen.parquet").as_uri(),
        )
    )


def _start(processes: list[subprocess.Popen[Any]], folder: Path, *command: str) -> subprocess.Popen[str]:
    with (folder / f"process-{len(processes)}.log").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE if "e2e_processes" in command[0] else log,
            stderr=log,
            cwd=ROOT,
            env=bare_environment(),
            text=True,
        )
    processes.append(started)
    return started


def _line(engine: subprocess.Popen[str]) -> str:
    assert engine.stdout is not None
    return engine.stdout.readline().strip()


def _engine_state(client: Client) -> tuple[int, RolloutState]:
    """Return what the engine has reported, once that is the version in production."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        [status] = client.get_rollout(MODEL).engines
        if status.version == 2 or time.monotonic() > deadline:
            return status.version, status.state
        time.sleep(0.05)

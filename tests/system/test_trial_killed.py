"""A server dies while it tries a version: the next one tries it again."""

import sqlite3
from pathlib import Path

import pytest

from modelward import Client, TrialResult
from tests.support.comparison_models import endless, saved
from tests.support.forked_server import ForkedServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Kills a server.


def test_a_trial_that_a_crash_cut_off_is_taken_up_again(tmp_path: Path) -> None:
    data_dir, flags = tmp_path / "data", ("--sandbox-seconds", "2")
    server = ForkedServer(data_dir, tmp_path / "first", *flags)
    with Client(server.target) as client:
        version = client.register_files("spx", saved(endless(), tmp_path))
        eventually(lambda: _claimed(data_dir))
        server.kill()
    server = ForkedServer(data_dir, tmp_path / "second", *flags)
    with Client(server.target) as client:
        assert _result(client, version) is TrialResult.PENDING
        eventually(lambda: _result(client, version) is TrialResult.UNUSABLE)
        trial = client.get_version(version).trial
    server.stop()
    assert trial is not None
    assert "2 s" in trial.reason


def _result(client: Client, version: object) -> TrialResult | None:
    trial = client.get_version(str(version)).trial
    return trial.result if trial else None


def _claimed(data_dir: Path) -> bool:
    with sqlite3.connect(data_dir / "ledger.db") as ledger:
        return ledger.execute("SELECT trial_claimed_until FROM ledger_versions").fetchone()[0] is not None

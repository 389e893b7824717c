"""Whoever reads again sees each commit, of whichever process, and a file that was put in place of another."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from modelward.errors import StoreUnavailable
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import AuditHeadRow

pytestmark = pytest.mark.system  # Takes seconds.


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.migrate()
    yield ledger
    ledger.close()


def change(ledger: Ledger) -> None:
    with ledger.writing() as session:
        session.execute(update(AuditHeadRow).values(hash="another"))


def test_state_differs_after_a_commit_and_not_before(ledger: Ledger) -> None:
    before = ledger.state()
    assert before is not None
    with ledger.writing() as session:
        session.execute(update(AuditHeadRow).values(hash="another"))
        session.flush()
        assert ledger.state() == before
    after = ledger.state()
    assert after not in {None, before}
    with ledger.reading() as session:
        session.scalars(select(AuditHeadRow.hash)).one()
    assert ledger.state() == after


def test_state_differs_after_a_commit_of_another_process(ledger: Ledger, tmp_path: Path) -> None:
    before = ledger.state()
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('CREATE TABLE one (a)'); c.commit()"
    subprocess.run([sys.executable, "-c", code, tmp_path / "ledger.db"], check=True)
    assert ledger.state() not in {None, before}


def test_state_differs_for_another_file_at_the_path(ledger: Ledger, tmp_path: Path) -> None:
    path, before = tmp_path / "ledger.db", ledger.state()
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("PRAGMA journal_mode=WAL")
    other.close()
    path.rename(tmp_path / "moved.db")
    with pytest.raises(StoreUnavailable, match="is gone; put it back"):
        ledger.state()
    (tmp_path / "other.db").rename(path)
    assert ledger.state() not in {None, before}
    path.unlink()
    (tmp_path / "moved.db").rename(path)
    assert ledger.state() not in {None, before}


def test_state_is_unknown_while_the_file_is_locked_and_then_known_again(ledger: Ledger, tmp_path: Path) -> None:
    before = ledger.state()
    assert before is not None
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as alone:
        alone.execute("PRAGMA locking_mode=EXCLUSIVE")
        alone.execute("BEGIN EXCLUSIVE")
        assert ledger.state() is None
    alone.close()
    change(ledger)
    assert ledger.state() not in {None, before}

"""Changes that wait at the same time are committed together, and what one of them does affects no other."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from modelward.errors import ModelNotFound, StoreUnavailable
from modelward.lifecycle import DriftAlarm, VersionRef
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import AuditRow, ModelRow
from tests.support.postgres import DATABASES, new_database
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Takes seconds.

CALLER: ContextVar[str] = ContextVar("caller", default="")


@pytest.fixture(params=DATABASES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr("modelward_server.storage.group_commit.MAX_SECONDS", 60.0)  # However slow the machine is.
    postgres = request.param == "postgresql"
    url = new_database(request.getfixturevalue("postgres")) if postgres else f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(url)
    ledger.migrate()
    yield ledger
    ledger.close()


def together(ledger: Ledger, changes: list[Callable[[Session], Any]]) -> list[Future[Any]]:
    """Run changes that all wait while another one is running; the first begins as the others are in the queue."""
    begun, go = threading.Event(), threading.Event()

    def holds(_session: Session) -> None:
        begun.set()
        assert go.wait(60)

    with ThreadPoolExecutor(len(changes) + 1) as threads:
        threads.submit(ledger.commit, holds)
        assert begun.wait(60)
        futures = []
        for change in changes:
            futures.append(threads.submit(ledger.commit, change))
            eventually(lambda: len(ledger.group._waiting) == len(futures))
        go.set()
    return futures


def adds(name: str) -> Callable[[Session], str]:
    def change(session: Session) -> str:
        actor = audit.begin_change(session, CALLER.get() or "tester")
        session.add(ModelRow(name=name, description="", tags={}, created_at=actor.at, updated_at=actor.at))
        audit.append(session, Kind.DRIFT_ALARM, name, DriftAlarm(VersionRef(name, 1), "report", 0.9), actor)
        return name

    return change


def fails_after(change: Callable[[Session], str]) -> Callable[[Session], str]:
    def failing(session: Session) -> str:
        change(session)
        raise ModelNotFound("no such model")

    return failing


def names(ledger: Ledger) -> list[str]:
    with ledger.reading() as session:
        assert audit.verify(session).intact
        recorded = list(session.scalars(select(AuditRow.model).order_by(AuditRow.sequence)))
        assert sorted(recorded) == sorted(session.scalars(select(ModelRow.name)))
    return recorded


def test_each_change_ends_as_if_it_were_alone(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    changes = [adds("a"), fails_after(adds("b")), adds("c"), adds("a"), adds("d"), fails_after(adds("e"))]
    ended = together(ledger, changes)
    assert [ended[place].result() for place in (0, 2, 4)] == ["a", "c", "d"]
    for place in (1, 5):
        with pytest.raises(ModelNotFound):
            ended[place].result()
    assert isinstance(ended[3].exception(), Exception), "a model of that name is there"
    assert sorted(names(ledger)) == ["a", "c", "d"]
    logged = [record.message for record in caplog.records if "drift alarm" in record.message]
    assert sorted(logged) == [f"drift alarm: {name}/1 has a score of 0.900 (report report)" for name in "acd"]


def test_those_that_wait_share_a_transaction(ledger: Ledger) -> None:
    seen: list[Session] = []

    def notes(session: Session) -> None:
        seen.append(session)

    for one in together(ledger, [notes] * 5):
        one.result()
    assert len({id(one) for one in seen}) == 1


def test_only_a_change_that_has_written_lets_the_others_run_again(ledger: Ledger) -> None:
    runs: list[str] = []

    def noted(name: str, change: Callable[[Session], str]) -> Callable[[Session], str]:
        def run(session: Session) -> str:
            runs.append(name)
            return change(session)

        return run

    def finds_nothing(session: Session) -> str:
        raise ModelNotFound(str(session.get(ModelRow, "nobody")))

    together(ledger, [noted("a", adds("a")), noted("b", finds_nothing), noted("c", adds("c"))])[2].result()
    assert runs == ["a", "b", "c"]
    together(ledger, [noted("d", adds("d")), noted("e", fails_after(adds("e"))), noted("f", adds("f"))])[2].result()
    assert runs[3:] == ["d", "e", "d", "e", "f"]
    assert sorted(names(ledger)) == ["a", "c", "d", "f"]


def test_a_change_sees_the_records_of_the_one_before_it(ledger: Ledger) -> None:
    def newest(session: Session) -> tuple[int, int]:
        return audit.last_sequence(session), len(audit.read_after(session, 0))

    assert [one.result() for one in together(ledger, [adds("a"), adds("b"), newest])] == ["a", "b", (2, 2)]


def test_a_change_that_the_database_refuses_stops_no_other(ledger: Ledger) -> None:
    broken: list[bool] = []

    def breaks_the_first_time(session: Session) -> str:
        if not broken:
            broken.append(True)
            raise OperationalError("COMMIT", None, Exception("the database is gone"))
        return adds("b")(session)

    ended = together(ledger, [adds("a"), breaks_the_first_time, adds("c")])
    assert [one.result() for one in ended] == ["a", "b", "c"]
    assert names(ledger) == ["a", "b", "c"]


def test_a_commit_that_fails_is_not_tried_again(ledger: Ledger) -> None:
    """Whether it took effect may be unknown, as where the connection broke before the answer came."""

    def breaks(session: Session) -> None:
        if not session.in_nested_transaction():
            raise OperationalError("COMMIT", None, Exception("the connection broke"))

    def last(session: Session) -> str:
        event.listen(session, "before_commit", breaks)
        return adds("b")(session)

    ended = together(ledger, [adds("a"), last, fails_after(adds("c"))])
    assert [type(one.exception()) for one in ended] == [StoreUnavailable, StoreUnavailable, ModelNotFound]
    assert names(ledger) == []


def test_each_change_runs_in_the_context_of_its_caller(ledger: Ledger) -> None:
    def as_caller(name: str) -> str:
        CALLER.set(name)
        return ledger.commit(adds(name))

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(as_caller, "abcdefgh")) == list("abcdefgh")
    with ledger.reading() as session:
        assert session.scalars(select(AuditRow).where(AuditRow.actor != AuditRow.model)).all() == []


def test_a_change_sees_what_the_one_before_it_wrote(ledger: Ledger) -> None:
    def renames(session: Session) -> None:
        session.get_one(ModelRow, "a")
        session.execute(text("UPDATE ledger_models SET description = 'new' WHERE name = 'a'"))

    ended = together(ledger, [adds("a"), renames, lambda session: session.get_one(ModelRow, "a").description])
    assert ended[2].result() == "new"


def test_a_change_that_is_taken_back_is_not_made_and_whoever_waits_for_it_goes_on(ledger: Ledger) -> None:
    with ledger.group._turn():
        one = ledger.group.add(adds("a"))
        pool = ThreadPoolExecutor(1)
        waits = pool.submit(ledger.group.finish, one)
        ledger.group.withdraw(one)
        ledger.group.withdraw(one)
    pool.shutdown()
    with pytest.raises(StoreUnavailable):
        waits.result()
    assert ledger.commit(adds("b")) == "b"
    assert names(ledger) == ["b"]

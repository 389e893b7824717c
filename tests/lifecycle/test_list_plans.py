"""Lists read the rows of their page in the order of an index: what they cost does not grow with what is stored."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from modelward.lifecycle import Stage, VersionRef
from modelward_server.lifecycle.queries import ModelFilter, VersionFilter, list_models, list_versions
from modelward_server.lifecycle.states import halts, unusable
from modelward_server.lifecycle.transition_queries import list_transitions
from modelward_server.storage import search
from modelward_server.storage.ledger import Ledger

pytestmark = pytest.mark.system  # Takes seconds.

FILTERS = {
    "all": VersionFilter(),
    "of a model": VersionFilter(name_prefix="spx"),
    "in a stage": VersionFilter(stages=[Stage.ARCHIVED]),
    "with a tag": VersionFilter(tags={"desk": "rates"}),
}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session on an empty ledger."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.migrate()
    with ledger.reading() as session:
        yield session
    ledger.close()


@pytest.mark.parametrize("versions", FILTERS.values(), ids=FILTERS)
def test_newest_versions_come_first_without_sorting_those_of_the_model(
    session: Session, versions: VersionFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW", 0)  # As if each condition held for many versions.
    *counts, listed = _plans(session, lambda: list_versions(session, versions, 10, ""))
    assert not any("TEMP B-TREE" in step for plan in counts for step in plan), counts
    assert sum("TEMP B-TREE" in step for step in listed) == 1, listed  # The rows of the page, once they are found.


@pytest.mark.parametrize(
    "models", [ModelFilter(owner="ada"), ModelFilter(tier=1), ModelFilter(desk="index"), ModelFilter(tags={"a": "b"})]
)
def test_models_are_found_by_their_inventory_as_by_their_tags(
    session: Session, models: ModelFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    plans = _plans(session, lambda: list_models(session, models, 10, ""))
    assert all(any("_by_value" in step for step in plan) for plan in plans), plans
    assert not any("SCAN ledger" in step for plan in plans for step in plan), plans


@pytest.mark.parametrize(("read", "index"), [(halts, "ledger_models_halted"), (unusable, "ledger_versions_unusable")])
def test_overview_finds_the_few_that_need_attention_without_reading_the_others(
    session: Session, read: Callable[[Session, str], object], index: str
) -> None:
    [[step]] = _plans(session, lambda: read(session, ""))
    assert f"INDEX {index}" in step


def test_transitions_before_a_time_are_found_without_reading_all_of_them(session: Session) -> None:
    now = datetime.now(UTC)
    found = _plans(session, lambda: list_transitions(session, VersionRef("", 0), None, now, 10, ""))[0]
    by_time = "SEARCH ledger_transitions USING COVERING INDEX ledger_transitions_by_time (moved_at<?)"
    assert found == [by_time]  # One step, which ends at its first row.


def _plans(session: Session, call: Callable[[], object]) -> list[list[str]]:
    """Return the plan of each statement that a call runs."""
    statements: list[tuple[str, Any]] = []
    connection = session.connection()
    event.listen(connection, "before_cursor_execute", lambda *given: statements.append(given[2:4]))
    call()
    explained = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values) for sql, values in list(statements)]
    return [[str(row[3]) for row in rows] for rows in explained]

"""Lists read the rows of their page in the order of an index: what they cost does not grow with what is stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from modelward.lifecycle import Stage
from modelward_server.lifecycle.queries import VersionFilter, list_versions
from modelward_server.storage import search
from modelward_server.storage.ledger import Ledger

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
    statements: list[tuple[str, Any]] = []
    connection = session.connection()
    event.listen(connection, "before_cursor_execute", lambda *given: statements.append(given[2:4]))
    list_versions(session, versions, 10, "")
    statement, values = statements[-1]
    plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert sum("TEMP B-TREE" in step for step in plan) == 1, plan  # The rows of the page, once they are found.

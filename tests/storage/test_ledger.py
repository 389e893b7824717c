"""The ledger's schema, on each database."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, insert, inspect

from modelward.errors import ConcurrentChange, StoreUnavailable
from modelward.lifecycle import MetricRange
from modelward_server.lifecycle.queries import ModelFilter, VersionFilter, list_models, list_versions
from modelward_server.storage.ledger import MIGRATIONS, Ledger
from modelward_server.storage.tables import Base, ModelRow, VersionRow
from tests.support.postgres import DATABASES, new_database
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return new_database(request.getfixturevalue("postgres"))


@pytest.mark.system
def test_migrations_give_the_schema_that_the_code_expects(url: str) -> None:
    ledger = Ledger(url)
    ledger.migrate()
    ledger.migrate()
    with create_engine(url, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "ledger_schema"})
        assert compare_metadata(context, Base.metadata) == []
        assert all(table.startswith("ledger_") for table in inspect(connection).get_table_names())
    ledger.close()


MIGRATE = """
import sys
from modelward_server.storage.ledger import Ledger
ledger = Ledger(sys.argv[1])
sys.stdin.readline()
ledger.migrate()
ledger.close()
"""


@pytest.mark.system  # Starts processes.
@pytest.mark.weekly("sqlite")
def test_servers_that_start_at_once_migrate_one_after_the_other(url: str) -> None:
    command = [sys.executable, "-c", MIGRATE, url]
    servers = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for server in servers:
        assert server.stdin is not None
        server.stdin.write("now\n")
        server.stdin.flush()
    assert [server.communicate(timeout=PATIENCE_SECONDS)[1] for server in servers] == [""] * 3
    assert [server.returncode for server in servers] == [0] * 3


@pytest.mark.system
def test_migration_carries_the_tags_and_metrics_of_an_older_ledger_over(url: str) -> None:
    tags, metrics = {"desk": "fx", "note": "x" * 5000}, {"accuracy": 0.57, "depth": 4}
    older = _ledger_at("0001", url)
    with older.writing() as session:
        session.execute(insert(ModelRow).values(_model("spx") | {"tags": tags}))
        session.execute(insert(VersionRow).values(_version("spx", 1) | {"tags": tags, "metrics": metrics}))
        session.execute(insert(VersionRow).values(_version("spx", 2) | {"stage": "archived"}))
    older.migrate()
    with older.reading() as session:
        [model] = list_models(session, ModelFilter(tags=tags), 10, "").items
        [tagged] = list_versions(session, VersionFilter(tags=tags), 10, "").items
        bounds = (MetricRange("accuracy", at_least=0.57), MetricRange("depth", at_most=4))
        [measured] = list_versions(session, VersionFilter(metrics=bounds), 10, "").items
        assert len(list_versions(session, VersionFilter(), 10, "").items) == 2
    assert (model.name, tagged.version, measured.version) == ("spx", 1, 1)
    older.close()


def _ledger_at(revision: str, url: str) -> Ledger:
    """Make a ledger as a server of that time left it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with create_engine(url, poolclass=NullPool).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return Ledger(url)


@pytest.mark.system
def test_database_itself_refuses_a_second_version_in_production(url: str) -> None:
    ledger = Ledger(url)
    ledger.migrate()
    with pytest.raises(ConcurrentChange, match=r"(?i)unique"):
        _write_two_in_production(ledger)
    with ledger.reading() as session:
        assert session.get(ModelRow, "spx") is None
    ledger.close()


def _write_two_in_production(ledger: Ledger) -> None:
    with ledger.writing() as session:
        session.execute(insert(ModelRow).values(_model("spx")))
        for number in (1, 2):
            session.execute(insert(VersionRow).values(_version("spx", number)))


def _model(name: str) -> dict[str, object]:
    now = datetime.now(UTC)
    return {"name": name, "description": "", "tags": {}, "created_at": now, "updated_at": now}


def _version(model: str, number: int) -> dict[str, object]:
    now = datetime.now(UTC)
    empty = {"description": "", "framework": "", "created_by": "", "digest": "", "format": "other"}
    facts: dict[str, object] = {"tags": {}, "params": {}, "metrics": {}, "files": [], "references": []}
    times = {"created_at": now, "updated_at": now, "stage_since": now}
    return {"model": model, "version": number, "stage": "production", **empty, **facts, **times}


def test_database_that_is_away_is_an_unavailable_store() -> None:
    ledger = Ledger("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(StoreUnavailable, match="ledger's database"), ledger.reading() as session:
        session.get(ModelRow, "spx")

"""What befalls the ledger's database, and what callers are told of it; all goes on when the cause is gone."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import psycopg
import pytest
from sqlalchemy import Connection, Dialect, NullPool, create_engine, insert, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from modelward.errors import (
    ConcurrentChange,
    InvalidField,
    LimitReached,
    ModelwardError,
    SchemaMismatch,
    StoreDamaged,
    StoreReadOnly,
    StoreUnavailable,
)
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.settings import Settings
from modelward_server.storage import database_errors, ledger, postgres
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import ModelRow
from tests.support.flaky_proxy import FlakyProxy
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.server_process import bare_environment
from tests.support.waiting import PATIENCE_SECONDS

PROMPT_SECONDS = 50.0
"""Within which everybody is told; on a busy machine that takes longer than it should."""
DIALECT: Dialect = make_url("postgresql+psycopg://").get_dialect()()


@pytest.fixture
def url(postgres: str) -> str:
    """An empty database on PostgreSQL."""
    return new_database(postgres)


@contextmanager
def serving(tmp_path: Path, database_url: str = "") -> Iterator[LifecycleServiceStub]:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", database_url=database_url, grace_seconds=1))
    with grpc.insecure_channel(running.target) as channel:
        stub = LifecycleServiceStub(channel)
        stub.CreateModel(pb.CreateModelRequest(model="spx"), timeout=PROMPT_SECONDS)
        yield stub
    running.stop()


def read(stub: LifecycleServiceStub) -> None:
    stub.GetModel(pb.GetModelRequest(model="spx"), timeout=PROMPT_SECONDS)


def write(stub: LifecycleServiceStub) -> None:
    stub.HaltModel(pb.HaltModelRequest(model="spx", reason="a test"), timeout=PROMPT_SECONDS)


def told(call: Callable[[LifecycleServiceStub], None], stub: LifecycleServiceStub) -> ModelwardError:
    """Return what a caller is told who tries once; the SDK would try again what may pass."""
    with pytest.raises(grpc.RpcError) as caught:
        call(stub)
    return error_of(caught.value)


def works_again(call: Callable[[LifecycleServiceStub], None], stub: LifecycleServiceStub) -> None:
    """Wait until a call is answered; a connection that is gone may be found out by the first one."""
    deadline = time.monotonic() + PROMPT_SECONDS
    while True:
        try:
            return call(stub)
        except grpc.RpcError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def operator(url: str) -> Iterator[Connection]:
    """Somebody else at the database."""
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        yield connection


def send_away(connection: Connection, url: str) -> None:
    """End all other connections to a database."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
    connection.execute(text(others), {"name": make_url(url).database})


def test_a_postgresql_that_hangs_is_unavailable_within_seconds(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PING_SECONDS", 1)
    monkeypatch.setitem(postgres.CONNECTION_OPTIONS, "connect_timeout", 2)
    parts = make_url(url)
    network = FlakyProxy(f"{parts.host}:{parts.port}")
    host, port = network.address.split(":")
    with serving(tmp_path, parts.set(host=host, port=int(port)).render_as_string()) as stub:
        network.silent = True  # As when it was stopped, or its machine has vanished.
        for call in (read, write):
            error = told(call, stub)
            assert isinstance(error, StoreUnavailable), error
            assert error.metadata == {"store": "ledger"}
        network.silent = False
        works_again(write, stub)
    network.close()


def test_a_statement_under_way_when_postgresql_hangs_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.BoundedConnection, "silence_seconds", 1.0)
    store = Ledger(url)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="no answer for 1 second"), store.reading() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    assert time.monotonic() - begun < PROMPT_SECONDS
    with store.reading() as session:
        assert session.scalar(text("SELECT 1")) == 1
    store.close()


def test_a_statement_or_a_lock_that_takes_too_long_is_ended(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCK_SECONDS", 1)
    monkeypatch.setattr(postgres, "STATEMENT_SECONDS", 2)
    with serving(tmp_path, url) as stub, operator(url) as other:
        other.execute(text("BEGIN"))
        other.execute(text("LOCK TABLE ledger_audit_head"))
        assert isinstance(told(write, stub), StoreUnavailable)
        other.execute(text("COMMIT"))
        write(stub)
    store = Ledger(url)
    with pytest.raises(StoreUnavailable, match="statement timeout"), store.reading() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    store.close()


def test_what_the_url_says_of_time_limits_counts_more(url: str) -> None:
    store = Ledger(f"{url}?options=-c%20statement_timeout%3D77s")
    with store.reading() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "77s"
        assert session.scalar(text("SHOW lock_timeout")) == "10s"
    store.close()


def test_a_standby_is_told_and_left_when_it_is_writable_again(tmp_path: Path, url: str) -> None:
    name = make_url(url).database
    with serving(tmp_path, url) as stub, operator(url) as other:
        other.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        send_away(other, url)
        works_again(read, stub)
        error = told(write, stub)
        assert isinstance(error, StoreReadOnly), error
        read(stub)
        other.execute(text("SET default_transaction_read_only = off"))
        other.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
        write(stub)  # Not over a connection that was made before.


def test_a_database_that_is_renamed_or_lacks_tables_is_told_as_what_it_is(tmp_path: Path, url: str) -> None:
    name = make_url(url).database
    server_url = url.rpartition("/")[0]
    with serving(tmp_path, url) as stub, operator(f"{server_url}/postgres") as other:
        other.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        send_away(other, url)
        other.execute(text(f"ALTER DATABASE {name} RENAME TO {name}_elsewhere"))
        assert isinstance(told(read, stub), StoreUnavailable)
        other.execute(text(f"ALTER DATABASE {name}_elsewhere RENAME TO {name}"))
        other.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        works_again(write, stub)
        with operator(url) as inside:
            inside.execute(text("ALTER TABLE ledger_models RENAME TO elsewhere"))
            error = told(read, stub)
            assert isinstance(error, SchemaMismatch), error
            assert error.metadata == {"store": "ledger"}
            inside.execute(text("ALTER TABLE elsewhere RENAME TO ledger_models"))
        works_again(write, stub)


@pytest.mark.system
def test_a_ledger_file_that_is_moved_away_is_missed_and_found_again(tmp_path: Path) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    with serving(tmp_path) as stub:
        files = ("ledger.db", "ledger.db-wal", "ledger.db-shm")
        away.mkdir()
        for name in files:
            (data / name).rename(away / name)
        for call in (read, write):
            error = told(call, stub)
            assert isinstance(error, StoreUnavailable), error
            assert "is gone" in error.message
        assert not (data / "ledger.db").exists()  # An empty one in its place would be taken for the ledger.
        for name in files:
            (away / name).rename(data / name)
        write(stub)


@pytest.mark.system
def test_a_ledger_file_that_is_damaged_is_data_loss(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ledger.db"
    with serving(tmp_path) as stub:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(truncate)")
        noise, size = random.Random(1), path.stat().st_size
        with path.open("r+b") as file:
            for page in range(4096, size, 4096):
                file.seek(page)
                file.write(noise.randbytes(2048))
        for call in (read, write):
            error = told(call, stub)
            assert isinstance(error, StoreDamaged), error
            assert error.metadata == {"store": "ledger"}


@pytest.mark.system
def test_a_rule_that_a_change_breaks_is_told_at_once_and_logged(
    tmp_path: Path, database_url: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = new_database(request.getfixturevalue("postgres")) if database_url else ""
    with serving(tmp_path, fresh) as stub:
        if fresh:
            with operator(fresh) as other:
                other.execute(text("ALTER TABLE ledger_models ADD CONSTRAINT never CHECK (halt_reason = '')"))
        else:
            with closing(sqlite3.connect(tmp_path / "data" / "ledger.db")) as connection:
                body = "BEGIN SELECT RAISE(ABORT, 'never'); END"
                connection.execute(f"CREATE TRIGGER never BEFORE UPDATE OF halt_reason ON ledger_models {body}")
        error = told(write, stub)
        assert isinstance(error, InvalidField), error
        assert "never" in error.message
    logged = [record for record in caplog.records if record.name == database_errors.__name__]
    assert len(logged) == 1  # It was not tried five times.
    assert logged[0].exc_info


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger, used by one thread."""
    place = f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else request.getfixturevalue("url")
    made = Ledger(place, threads=1)
    made.migrate()
    yield made
    made.close()


@pytest.mark.parametrize("wrong", [{"latest_version": 2**80}, {"description": "\ud800"}], ids=["integer", "text"])
def test_a_value_that_no_database_can_hold_is_the_caller_s_to_mend(store: Ledger, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidField, match="cannot hold"), store.writing() as session:
        session.execute(insert(ModelRow).values(_model("spx") | wrong))


def test_only_a_unique_key_makes_a_race(store: Ledger) -> None:
    with pytest.raises(ConcurrentChange), store.writing() as session:
        session.execute(insert(ModelRow), [_model("spx"), _model("spx")])
    with pytest.raises(InvalidField, match="constraint"), store.writing() as session:
        session.execute(text("INSERT INTO ledger_policies VALUES ('nothing', '{}', 1)"))
    with pytest.raises(InvalidField, match="constraint"), store.writing() as session:
        session.execute(text("INSERT INTO ledger_models (name) VALUES ('spx')"))


def _model(name: str) -> dict[str, object]:
    now = datetime.now(UTC)
    return {"name": name, "description": "", "tags": {}, "created_at": now, "updated_at": now}


def test_a_pool_whose_connections_are_all_in_use_is_unavailable(store: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "POOL_SECONDS", 0.1)
    monkeypatch.setattr(ledger, "MORE_CONNECTIONS", 0)
    small = Ledger(store.url, threads=1)
    with small.reading() as held:
        held.execute(text("SELECT 1"))
        with pytest.raises(StoreUnavailable, match="in use"), small.reading() as session:
            session.execute(text("SELECT 1"))
    small.close()


@pytest.mark.system
def test_a_schema_of_a_newer_server_is_refused_in_words(store: Ledger, tmp_path: Path) -> None:
    with store.writing() as session:
        session.execute(text("UPDATE ledger_schema SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match=r"the ledger's schema is 9999, .* supports schemas up to \d{4}"):
        store.migrate()
    command = [
        sys.executable,
        "-m",
        "modelward",
        "serve",
        "--workers",
        "2",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    flags = ["--database-url", store.url]
    done = subprocess.run(
        [*command, *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=bare_environment(),
    )
    assert done.returncode == 1
    assert "9999" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_database_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all, but long enough to be one" * 100)
    with pytest.raises(StoreDamaged, match="not a database"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db").migrate()


@pytest.mark.parametrize(
    ("sqlstate", "kind", "word"),
    [
        ("08006", StoreUnavailable, ""),
        ("22003", InvalidField, ""),
        ("40P01", ConcurrentChange, ""),
        ("53100", LimitReached, "disk"),
        ("53200", LimitReached, "memory"),
        ("53300", StoreUnavailable, ""),
        ("53400", LimitReached, "database"),
        ("54000", InvalidField, ""),
        ("55P03", StoreUnavailable, ""),
        ("57014", StoreUnavailable, ""),
        ("57P01", StoreUnavailable, ""),
        ("57P03", StoreUnavailable, ""),
        ("58030", StoreUnavailable, ""),
        ("58P01", StoreDamaged, ""),
        ("XX001", StoreDamaged, ""),
        ("XX000", StoreUnavailable, ""),
        ("42501", StoreReadOnly, ""),
    ],
)
def test_codes_of_postgresql_mean_what_they_say(sqlstate: str, kind: type[ModelwardError], word: str) -> None:
    error = psycopg.errors.lookup(sqlstate)("words")
    found = database_errors.explain(DBAPIError.instance("SELECT 1", {}, error, psycopg.Error, dialect=DIALECT))
    assert type(found) is kind
    assert found.metadata.get("limit", "") == word


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, StoreUnavailable),
        (sqlite3.SQLITE_LOCKED, StoreUnavailable),
        (sqlite3.SQLITE_IOERR_READ, StoreUnavailable),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailable),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StoreReadOnly),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreUnavailable),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreDamaged),
        (sqlite3.SQLITE_NOTADB, StoreDamaged),
        (sqlite3.SQLITE_FULL, LimitReached),
        (sqlite3.SQLITE_TOOBIG, InvalidField),
    ],
)
def test_codes_of_sqlite_mean_what_they_say(code: int, kind: type[ModelwardError]) -> None:
    error = sqlite3.OperationalError("words")
    error.sqlite_errorcode = code
    found = database_errors.explain(OperationalError("SELECT 1", {}, error))
    assert type(found) is kind


def test_a_defect_of_the_server_stays_one() -> None:
    error = psycopg.errors.SyntaxError("words")
    assert database_errors.explain(DBAPIError.instance("SELEC", {}, error, psycopg.Error, dialect=DIALECT)) is None

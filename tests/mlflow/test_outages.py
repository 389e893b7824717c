"""MLflow goes away, its database or its server, and comes back: the mirror goes on, and shows nothing twice."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from modelward import Client
from modelward.errors import DeadlineExceeded, StoreUnavailable
from modelward_server.settings import Settings
from tests.support.flaky_proxy import FlakyProxy
from tests.support.postgres import new_database
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # MLflow goes away and comes back.


class LocalFile:
    """A database in a file, which is moved away and put back as a copy, as from a backup."""

    def __init__(self, path: Path) -> None:
        self.uri = f"sqlite:///{path}"
        self._path, self._away = path, path.with_suffix(".away")

    def take_away(self) -> None:
        self._path.rename(self._away)

    def put_back(self) -> None:
        assert not self._path.exists()  # Nothing made an empty one in its place.
        self._path.write_bytes(self._away.read_bytes())


class Database:
    """A database on PostgreSQL, which is renamed."""

    def __init__(self, url: str) -> None:
        self.uri = url
        self._server, self._name = url.rpartition("/")[0], make_url(url).database

    def take_away(self) -> None:
        self._run(
            f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'",
            f"ALTER DATABASE {self._name} RENAME TO {self._name}_away",
        )

    def put_back(self) -> None:
        self._run(
            f"ALTER DATABASE {self._name}_away RENAME TO {self._name}",
            f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true",
        )

    def _run(self, *statements: str) -> None:
        engine = create_engine(f"{self._server}/postgres", isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))


class TrackingServer:
    """A server that others share, at an address that it leaves."""

    def __init__(self, url: str) -> None:
        self._target = url.removeprefix("http://")
        self._network = FlakyProxy(self._target)
        self.uri = f"http://{self._network.address}"

    def take_away(self) -> None:
        self._network.break_off()

    def put_back(self) -> None:
        self._network.target = self._target


Kept = LocalFile | Database | TrackingServer


@pytest.fixture(params=["file", "database", "server"] if FULL else ["file", "server"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Where MLflow keeps what it is shown."""
    if request.param == "file":
        return LocalFile(tmp_path / "mlflow.db")
    if request.param == "server":
        return TrackingServer(request.getfixturevalue("tracking_server"))
    return Database(new_database(request.getfixturevalue("postgres")))


@pytest.fixture
def client(kept: Kept, tmp_path: Path) -> Iterator[Client]:
    settings = Settings(port=0, data_dir=tmp_path / "data", mlflow_uri=kept.uri, grace_seconds=1)
    running = RunningServer(settings)
    with Client(running.target, timeout=PATIENCE_SECONDS) as client:
        yield client
    running.stop()


@pytest.mark.weekly("file")
def test_the_mirror_goes_on_when_mlflow_is_back(
    client: Client,
    kept: Kept,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # Where MLflow puts files that nobody gave a place.
    (tmp_path / "model.bin").write_bytes(uuid4().bytes)

    name = f"spx-{uuid4().hex[:8]}"

    def register(number: int) -> None:
        assert client.register(name, tmp_path / "model.bin").version == number

    register(1)
    eventually(lambda: client.get_version(f"{name}/1").mlflow_version)
    kept.take_away()
    register(2)
    client.promote(f"{name}/1", to="staging")
    eventually(lambda: "MLflow" in caplog.text)
    with pytest.raises((StoreUnavailable, DeadlineExceeded), match="MLflow"):
        client.reconcile_mlflow(name, timeout=8)
    with pytest.raises((StoreUnavailable, DeadlineExceeded), match="MLflow"):
        client.import_mlflow(name, timeout=8)
    kept.put_back()
    client.promote(f"{name}/1", to="production", reason="it passed its tests")
    eventually(lambda: client.get_version(f"{name}/2").mlflow_version)
    eventually(lambda: not client.reconcile_mlflow(name, dry_run=True).differences)
    from mlflow import MlflowClient

    mlflow = MlflowClient(kept.uri, kept.uri)
    experiment = mlflow.get_experiment_by_name(name)
    assert experiment is not None
    assert len(mlflow.search_runs([experiment.experiment_id])) == 2
    assert len(mlflow.search_model_versions(f"name='{name}'")) == 2

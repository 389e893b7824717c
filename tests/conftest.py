"""What all tests share: a server in this process, both clients on it, and which tests are run."""

import ctypes.util
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from uuid import uuid4
from zlib import crc32

import mlflow  # noqa: F401 - else a server's thread imports it, and pandas, while a test looks at half of them
import pytest

from modelward import AsyncClient, Client
from modelward_server.settings import Settings
from tests.support.clients import as_async
from tests.support.postgres import DATABASES, NOT_INSTALLED, new_database, programs, running_postgres
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.skips import fail_unlisted
from tests.support.waiting import PATIENCE_SECONDS

for _name in [name for name in os.environ if name.upper().startswith("MODELWARD_")]:
    if not _name.startswith("MODELWARD_TEST_"):
        del os.environ[_name]  # A setting of a real server that whoever runs the tests may have.


for _kind in (Client, AsyncClient):
    # Whoever promotes right after registering waits for the trial: however busy the machine is, that is no error.
    (_kind.__init__.__kwdefaults__ or {})["timeout"] = PATIENCE_SECONDS


STORE_LITTLE = ("abtest", "cli", "client", "comparison", "drift", "interceptors", "mlflow", "reports")
"""Folders of tests of which the database is no part: usually they are run on SQLite only."""
STORE_MUCH = ("test_abtest.py", "test_joining.py", "test_live_monitoring.py", "test_performance.py")
"""Files in these folders that are run on PostgreSQL too: what they send is counted by the database."""
ABOUT_CLIENTS = ("client", "system")
"""Folders of tests that are about both clients."""
ALL_SYSTEM = re.compile(r"^pytestmark = \[?pytest\.mark\.system\b", re.MULTILINE)
"""The line by which a file marks all its tests."""
NEED_PROCESSES = {"confinement", "postgres", "tracking_server"}
"""Fixtures that start a process; a test that has one of them is marked `system`."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs more than this process."""
    if isinstance(item, pytest.Function) and NEED_PROCESSES & set(item.fixturenames):
        item.add_marker(pytest.mark.system)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Try each test with one client on SQLite and with the other on PostgreSQL.

    Which is which hangs on the test's name, so that both kinds of runs try both clients. That a client is sync makes
    no difference to the database, and the sync client is derived from the async one: only tests of the clients
    themselves try both. In the folders of `STORE_LITTLE` nothing is tried on PostgreSQL. Tests marked `weekly` are left
    out unless their file is named. `MODELWARD_TEST_SCALE=full` tries these too, and all four pairs everywhere.

    Files begin with those whose tests take longest, so that no worker is left alone with one of them at the end: first
    those of processes, then by the number of their tests.
    """
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.parent.name not in ("demo", "mlflow", "system"), -sizes[item.path]))
    if FULL:
        return
    left_out = [item for item in items if not _is_tried(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _is_tried(item)]


def _is_tried(item: pytest.Item) -> bool:
    given = getattr(getattr(item, "callspec", None), "params", {})
    weekly = item.get_closest_marker("weekly")
    if (
        weekly
        and not named_files(item.config)
        and (not weekly.args or set(weekly.args) & set(map(str, given.values())))
    ):
        return False
    folder, database = item.path.parent.name, given.get("database_url", "sqlite")
    if folder in STORE_LITTLE and item.path.name not in STORE_MUCH and database == "postgresql":
        return False
    client = given.get("client", given.get("scorer"))
    if client not in {"sync", "async"} or ("database_url" not in given and folder in ABOUT_CLIENTS):
        return True
    one = crc32(item.nodeid.partition("[")[0].encode()) % 2 == 0
    return ((database == "sqlite") == (client == "sync")) is one


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Start no workers for the tests of one file, or else one more than cores: some test waits at any time."""
    if len(named_files(config)) == 1:
        return 0
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Run whatever stands in files that are named, marked `system` or not, and let no worker wait for a disk.

    A test that promotes has files flushed to disk about a hundred times, for milliseconds each, and none needs it: no
    test cuts the power, and what a killed process has written stays. So workers start with Debian's `libeatmydata1`
    where that is installed.
    """
    if library := ctypes.util.find_library("eatmydata"):
        os.environ.setdefault("LD_PRELOAD", library)
    if named_files(config) and not any(argument.startswith("-m") for argument in config.invocation_params.args):
        config.option.markexpr = ""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file that is marked `system` as a whole where those tests are left out: that takes longer than most."""
    if config.option.markexpr != "not system" or collection_path.suffix != ".py":
        return None
    return bool(ALL_SYSTEM.search(collection_path.read_text())) or None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test be skipped silently where everything is installed."""
    report = yield
    fail_unlisted(report)
    return report


def named_files(config: pytest.Config) -> set[str]:
    """Return the files of the tests to run, where those are named and no folders."""
    files = {argument.partition("::")[0] for argument in config.args}
    return files if all(Path(config.invocation_params.dir, file).is_file() for file in files) else set()


@pytest.fixture(scope="session")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the server may read from."""
    return tmp_path_factory.mktemp("inbox")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server, for tests of storage."""
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip(NOT_INSTALLED)
    with running_postgres(bin_dir) as url:
        yield url


@pytest.fixture(scope="session", params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """The ledger's database: SQLite in the data folder, and PostgreSQL where it is installed."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres")
    return new_database(url)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, inbox: Path, database_url: str) -> Iterator[RunningServer]:
    """The server that most tests share, on each database; each test uses names of its own."""
    settings = Settings(
        port=0,
        data_dir=tmp_path_factory.mktemp("data"),
        database_url=database_url,
        allowed_sources=(f"file://{inbox}", "runs:/", "models:/"),
    )
    running = RunningServer(settings)
    yield running
    running.stop()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, server: RunningServer) -> AsyncIterator[AsyncClient]:
    """A client of the shared server, of each kind."""
    if request.param == "async":
        async with AsyncClient(server.target, actor="tester") as client:
            yield as_async(client)
    else:
        with Client(server.target, actor="tester") as client:
            yield as_async(client)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A model's name that no other test uses."""
    plain = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return f"{plain.strip('-')[:100]}-{uuid4().hex[:8]}"

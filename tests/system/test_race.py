"""Many processes move the same models at once: one version in production, always, and a history that holds.

What each process saw, and when, must be explained by some order of the calls, one after another; see `linearizability`.
`MODELWARD_TEST_SCALE=full` races 8 processes on 50 models with 200 promotions each.
"""

import itertools
import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from modelward import Client, Stage
from tests.support.forked_server import ForkedServer
from tests.support.linearizability import Timed, first_impossible
from tests.support.postgres import new_database
from tests.support.race_client import VERSIONS, Scale, race
from tests.support.scale import FULL
from tests.support.stage_history import Event, Moved, Standing, check_told, replay, step
from tests.support.waiting import PATIENCE_SECONDS

SCALE = Scale(8, 50, 200, 10) if FULL else Scale(3, 1, 30, 2)
START = Standing((Stage.STAGING,) * VERSIONS)


@dataclass(frozen=True)
class Arena:
    """The servers that are raced on, and the URL of their one database."""

    servers: list[str]
    database: str


ARENAS = ["sqlite", "postgresql", "two servers on postgresql"]


@pytest.fixture(params=ARENAS if FULL else [ARENAS[0], ARENAS[2]])
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    data, count = tmp_path / "data", 2 if request.param.startswith("two") else 1
    url = f"sqlite:///{data}/ledger.db"
    if request.param != "sqlite":
        url = new_database(request.getfixturevalue("postgres"))
    with ExitStack() as stack:
        servers = [ForkedServer(data, tmp_path / f"log{i}", "--database-url", url) for i in range(count)]
        for server in servers:
            stack.callback(server.stop)
        yield Arena([server.target for server in servers], url)


@pytest.mark.weekly("sqlite")
def test_one_version_is_in_production_however_many_promote_at_once(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    with Client(arena.servers[0], timeout=PATIENCE_SECONDS) as client:
        for number in range(SCALE.models * VERSIONS):
            client.promote(client.register(f"m{number % SCALE.models}", tmp_path / "model.bin"), to="staging")
        seen = _run_rounds(arena)
        _report(seen)
        for model, history in seen.items():
            assert first_impossible(history, START, step) is None
            record = list(client.list_transitions(model))[::-1]
            replay(record)
            check_told([move for move in record if move.actor.startswith("racer")], [call.event for call in history])
            assert client.get_model(model).production_version == client.resolve(model).version.version
        assert client.verify_audit_log().intact


def _run_rounds(arena: Arena) -> dict[str, list[Timed[Event]]]:
    """Race round after round, with a look at every model after each, and return what was seen of each model."""
    seen: dict[str, list[Timed[Event]]] = defaultdict(list)
    with multiprocessing.get_context("spawn").Pool(SCALE.processes) as pool:
        for number in range(SCALE.rounds):
            servers = itertools.cycle(arena.servers)
            racers = [(next(servers), SCALE.processes * number + i, SCALE) for i in range(SCALE.processes)]
            for model, call in itertools.chain.from_iterable(pool.starmap(race, racers)):
                seen[model].append(call)
            _check_one_in_production(arena.database)
    return seen


def _check_one_in_production(database: str) -> None:
    query = "SELECT model, count(*) FROM ledger_versions WHERE stage = 'production' GROUP BY model"
    with create_engine(database, poolclass=NullPool).connect() as connection:
        counted: dict[str, int] = dict(connection.execute(text(query)).all())
    assert counted == {f"m{model}": 1 for model in range(SCALE.models)}


def _report(seen: dict[str, list[Timed[Event]]]) -> None:
    """Say how the calls ended, for `pytest -s`."""
    ended = Counter(_ending(call.event) for history in seen.values() for call in history)
    print(", ".join(f"{count} {ending}" for ending, count in ended.items()))


def _ending(event: Event) -> str:
    return f"moved to {event.to}" if isinstance(event, Moved) else type(event).__name__

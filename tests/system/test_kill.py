"""The server is killed at every step of a registration and of a promotion, and at any instant: nothing is half done,
nothing that was acknowledged is lost, what is asked for again is done once, and MLflow shows it in the end.

Every fourth step is taken, on SQLite and on PostgreSQL in turn. `MODELWARD_TEST_SCALE=full` takes every step on both,
and 200 random instants on each.
"""

import random
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelward import Stage
from tests.support.background_traffic import GROWN, MOVED, VERSIONS, Traffic
from tests.support.flaky_proxy import FlakyProxy
from tests.support.killable_server import MIRROR_PROMOTION, MIRROR_REGISTRATION, PROMOTE, REGISTER, TABLES_HALF_MADE
from tests.support.linearizability import first_impossible
from tests.support.postgres import new_database
from tests.support.recovery_checks import (
    Registry,
    check_files,
    check_reference,
    check_whole,
    move_of,
    registration_of,
)
from tests.support.scale import FULL
from tests.support.stage_history import Standing, check_told, step
from tests.support.waiting import PATIENCE_SECONDS

KILLS = 200 if FULL else 2
DATABASES = ("sqlite", "postgresql")
MIRRORED = DATABASES if FULL else ("sqlite",)
"""Where the mirror's steps are taken; the ledger's database matters less to them."""


@pytest.fixture(scope="module", params=DATABASES)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry for all tests of one database."""
    database = "" if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))
    registry = Registry(tmp_path_factory.mktemp("killed"), database)
    yield registry
    registry.server.kill()


def tried(steps: Iterable[str]) -> list[str]:
    """Return every step, or every fourth one."""
    return [*steps][:: 1 if FULL else 4]


def in_turn(steps: Iterable[str]) -> pytest.MarkDecorator:
    """Take each step of those that are tried on one of the databases, or on both."""
    pairs = [
        (database, at)
        for i, at in enumerate(tried(steps))
        for database in DATABASES
        if FULL or database == DATABASES[i % 2]
    ]
    return pytest.mark.parametrize(("registry", "at"), pairs, indirect=["registry"])


def _name(step: str) -> str:
    return re.sub(r"\W", "-", step)


def _killed_and_asked_again(registry: Registry, at: str, request: Any) -> Any:
    """Make a call to a server that dies at a step, look around, make the call again and return its answer."""
    registry.restart(at)
    first = registry.call(request)
    registry.server.wait_until_killed()
    registry.restart()
    with registry.client() as client:
        check_whole(client)
        again = registry.call(request)
        assert first in (None, again)
        assert registry.call(request) == again
        check_whole(client)
    return again


@in_turn(REGISTER)
def test_registration_is_whole_and_happens_once(registry: Registry, at: str, tmp_path: Path) -> None:
    _register(registry, at, tmp_path)


@pytest.mark.parametrize("registry", MIRRORED, indirect=True)
@pytest.mark.parametrize("at", tried(MIRROR_REGISTRATION))
@pytest.mark.weekly
def test_registration_shows_once_in_mlflow(registry: Registry, at: str, tmp_path: Path) -> None:
    registry.check_mlflow(_register(registry, at, tmp_path))


def _register(registry: Registry, at: str, folder: Path) -> str:
    """Register a version of a model of the step's own, and return its name."""
    model = f"register-{_name(at)}"
    answer = _killed_and_asked_again(registry, at, registration_of(model))
    with registry.client() as client:
        [version] = client.list_versions(model)
        assert version.version == answer.version.version == 1
        check_files(client, version, folder)
        check_reference(client, version)
    return model


def test_mlflow_gets_its_tables_whole(tmp_path: Path) -> None:
    registry = Registry(tmp_path, database="")
    registry.check_mlflow(_register(registry, TABLES_HALF_MADE, tmp_path))
    registry.server.kill()


@in_turn(PROMOTE)
def test_promotion_is_whole_and_happens_once(registry: Registry, at: str) -> None:
    _prepare(registry, f"promote-{_name(at)}")
    _promote(registry, at)


@pytest.mark.parametrize("registry", MIRRORED, indirect=True)
@pytest.mark.parametrize("at", tried(MIRROR_PROMOTION))
@pytest.mark.weekly
def test_promotion_shows_once_in_mlflow(registry: Registry, at: str) -> None:
    _prepare(registry, f"promote-{_name(at)}")
    registry.check_mlflow(f"promote-{_name(at)}")  # So that the server comes to the step on the promotion's account.
    registry.check_mlflow(_promote(registry, at))


def _promote(registry: Registry, at: str) -> str:
    """Promote a version of a model of the step's own, and return its name."""
    model = f"promote-{_name(at)}"
    answer = _killed_and_asked_again(registry, at, move_of(model, 2, Stage.PRODUCTION))
    with registry.client() as client:
        promotion, archiving, *before = client.list_transitions(model)
        assert (promotion.version.version, promotion.to_stage) == (2, Stage.PRODUCTION)
        assert (archiving.version.version, archiving.displaced_by) == (1, 2)
        assert promotion.sequence == answer.transition.sequence
        assert len(before) == 5
    return model


def _prepare(registry: Registry, model: str) -> None:
    """Put version 1 of a model into production and version 2 into staging."""
    for version in (1, 2):
        registry.call(registration_of(model))
        registry.call(move_of(model, version, Stage.STAGING))
    registry.call(move_of(model, 1, Stage.PRODUCTION))


@pytest.fixture
def network(registry: Registry) -> Iterator[FlakyProxy]:
    network = FlakyProxy(registry.server.target)
    yield network
    network.close()


@pytest.mark.weekly("postgresql")
def test_killed_at_any_instant(registry: Registry, network: FlakyProxy, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    for version in range(1, VERSIONS + 1):
        registry.call(registration_of(MOVED))
        registry.call(move_of(MOVED, version, Stage.STAGING))
    traffic = Traffic(network.address, tmp_path / "model.bin", PATIENCE_SECONDS)
    chosen = random.Random(7)
    for _ in range(KILLS):
        _wait_for_answers(traffic)
        time.sleep(chosen.uniform(0, 0.5))
        registry.restart()
        network.target = registry.server.target
    _wait_for_answers(traffic)
    traffic.end()
    _check_told(registry, traffic)


def _wait_for_answers(traffic: Traffic) -> None:
    """Wait until the traffic flows, so that the next kill meets calls under way."""
    before, deadline = traffic.answers, time.monotonic() + PATIENCE_SECONDS
    while traffic.answers < before + 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _check_told(registry: Registry, traffic: Traffic) -> None:
    """Look that what the clients were told has happened, each thing once, and nothing else."""
    seen = [call for witness in traffic.witnesses for _, call in witness.seen]
    assert first_impossible(seen, Standing((Stage.STAGING,) * VERSIONS), step) is None
    with registry.client() as client:
        check_whole(client)
        moves = list(client.list_transitions(MOVED))[::-1]
        check_told([move for move in moves if move.actor.startswith("mover")], [call.event for call in seen])
        grown = [version.version for version in client.list_versions(GROWN)][::-1]
        assert [version.version for version in traffic.promoted] == grown
        promotions = [move for move in client.list_transitions(GROWN) if move.to_stage is Stage.PRODUCTION]
        assert [move.version.version for move in promotions][::-1] == grown
        assert client.resolve(GROWN).version.version == grown[-1]


@pytest.mark.weekly("postgresql")
def test_mlflow_shows_everything_in_the_end(registry: Registry) -> None:
    with registry.client() as client:
        models = [model.name for model in client.list_models()]
    assert models
    for model in models:
        registry.check_mlflow(model)

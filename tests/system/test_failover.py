"""Servers of one database are killed in turns under load: nobody loses anything, and nobody waits for long."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelward import Client, ModelEvent, Stage
from tests.support.background_traffic import GROWN, MOVED, VERSIONS, Traffic
from tests.support.linearizability import first_impossible
from tests.support.postgres import new_database
from tests.support.recovery_checks import check_whole, move_of, registration_of
from tests.support.replicas import LAST, Callers, Replicas
from tests.support.scale import FULL
from tests.support.stage_history import Standing, check_told, step
from tests.support.waiting import PATIENCE_SECONDS

KILLS = 20 if FULL else 2
LONGEST_WAIT_SECONDS = 15.0
"""Far above what `benchmarks/failover.py` measures: other work may share the machine."""


@pytest.fixture
def replicas(postgres: str, tmp_path: Path) -> Iterator[Replicas]:
    replicas = Replicas(tmp_path, new_database(postgres), servers=2)
    yield replicas
    replicas.end()


def test_killing_any_server_loses_nothing_and_holds_nobody_up(replicas: Replicas, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    _prepare(replicas)
    with Client(replicas.targets) as client:
        first = client.register(GROWN, tmp_path / "model.bin")
        client.promote(first, to="staging")
        client.promote(first, to="production", reason="it passed its tests")
    callers = Callers(replicas.targets, first.ref, tmp_path / "cache")
    traffic = Traffic(replicas.targets, tmp_path / "model.bin", PATIENCE_SECONDS)
    chosen = random.Random(7)
    for kill in range(KILLS):
        if kill:
            replicas.bring_back((kill - 1) % 2, workers=2)
        _wait_for_answers(traffic, callers)
        time.sleep(chosen.uniform(0, 0.3))
        replicas.servers[kill % 2].kill()
    _wait_for_answers(traffic, callers)
    traffic.end()
    callers.end()
    replicas.server = replicas.servers[KILLS % 2]
    _check_traffic(replicas, traffic, first.version)
    _check_callers(replicas, callers, traffic, tmp_path / "model.bin")
    replicas.check_mlflow(GROWN)


def _prepare(replicas: Replicas) -> None:
    for version in range(1, VERSIONS + 1):
        replicas.call(registration_of(MOVED))
        replicas.call(move_of(MOVED, version, Stage.STAGING))


def _wait_for_answers(traffic: Traffic, callers: Callers) -> None:
    """Wait until all work goes on, so that the next kill meets calls under way."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    told, logged, grown = traffic.answers, callers.logged, len(traffic.promoted)
    while traffic.answers < told + 5 or callers.logged < logged + 2 or len(traffic.promoted) == grown:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _check_traffic(replicas: Replicas, traffic: Traffic, before: int) -> None:
    """Look that what was acknowledged is there, each thing once, and nothing else."""
    seen = [call for witness in traffic.witnesses for _, call in witness.seen]
    assert first_impossible(seen, Standing((Stage.STAGING,) * VERSIONS), step) is None
    assert max(call.returned - call.invoked for call in seen) / 1e9 < LONGEST_WAIT_SECONDS
    with Client(replicas.targets) as client:
        check_whole(client)
        moves = list(client.list_transitions(MOVED))[::-1]
        check_told([move for move in moves if move.actor.startswith("mover")], [call.event for call in seen])
        grown = [version.version for version in client.list_versions(GROWN)][::-1]
        assert [before, *(version.version for version in traffic.promoted)] == grown
        promotions = [move for move in client.list_transitions(GROWN) if move.to_stage is Stage.PRODUCTION]
        assert [move.version.version for move in promotions][::-1] == grown


def _check_callers(replicas: Replicas, callers: Callers, traffic: Traffic, file: Path) -> None:
    with Client(replicas.targets) as client:
        client.register(LAST, file)
        told = [watched.result(PATIENCE_SECONDS) for watched in callers.watched]
        assert client.get_version(callers.followed[0]).metrics["seen"] == callers.logged
    for events in told:
        assert _numbers(events) == _numbers(_all_after(replicas, events[0]))
    grown = [version.ref for version in traffic.promoted]
    assert [ref for ref in grown if ref in callers.followed] == callers.followed[1:]
    assert max(callers.longest_wait.values()) < LONGEST_WAIT_SECONDS


def _all_after(replicas: Replicas, first: ModelEvent) -> list[ModelEvent]:
    """Return an event and all behind it, as the record has them now."""
    events = [first]
    with Client(replicas.targets) as client:
        for event in client.watch(resume_token=first.resume_token):
            events.append(event)
            if event.model == LAST:
                return events
    raise AssertionError("the watch ended")


def _numbers(events: list[ModelEvent]) -> list[int]:
    return [event.sequence for event in events]

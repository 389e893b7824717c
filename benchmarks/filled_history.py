"""The past of the versions of a filled ledger: logged metrics, transitions, and audit records in a valid chain."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise, product
from typing import Any

from filled import BATCH, BEGUN, Store, _insert
from sqlalchemy import insert
from sqlalchemy.orm import Session

from modelward.lifecycle import ModelVersion, Stage, Transition, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import to_version, version_row
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import MetricRow, TransitionRow

ACTOR = ActorContext("nightly", BEGUN)
PATHS: dict[str, tuple[Stage, ...]] = {
    "archived": (Stage.TRAINING, Stage.ARCHIVED),
    "staging": (Stage.TRAINING, Stage.STAGING),
    "production": (Stage.TRAINING, Stage.STAGING, Stage.PRODUCTION),
}
"""The stages that a version has gone through, by the one that it is in."""


def fill_history(url: str, store: Store) -> None:
    """Add the logged metrics, the registrations and the transitions of the versions, with their audit records."""
    ledger = Ledger(url)
    _insert(ledger, MetricRow, (_metric(store, *one) for one in _versions(store)))
    versions = _versions(store)
    while batch := list(islice(versions, BATCH)):
        with ledger.writing() as session:
            _register(session, store, batch)
            _move(session, store, batch)
    ledger.close()


def fill_audit_log(url: str, store: Store, records: int) -> None:
    """Add audit records of changes of a version until the log has so many."""
    ledger = Ledger(url)
    with ledger.reading() as session:
        missing, changed = records - audit.last_sequence(session), _some_version(session, store)
    while missing > 0:
        with ledger.writing() as session:
            about = [(changed.model, changed.version, changed)] * min(missing, BATCH)
            audit.append_all(session, Kind.VERSION, about, ACTOR)
        missing -= BATCH
    ledger.close()


def _versions(store: Store) -> Iterator[tuple[int, int]]:
    return product(range(store.models), range(1, store.versions + 1))


def _some_version(session: Session, store: Store) -> ModelVersion:
    return to_version(version_row(session, VersionRef(store.model(0), store.versions)))


def _metric(store: Store, model: int, version: int) -> dict[str, Any]:
    ref = {"model": store.model(model), "version": version, "key": "accuracy"}
    return {**ref, "value": store.accuracy(model, version), "measured_at": store.created_at(model, version)}


def _register(session: Session, store: Store, batch: list[tuple[int, int]]) -> None:
    some = replace(_some_version(session, store), stage=Stage.TRAINING)
    named = [(store.model(model), version) for model, version in batch]
    made = [(model, version, replace(some, model=model, version=version)) for model, version in named]
    first = audit.next_sequence(session)
    audit.append_all(session, Kind.REGISTERED, made, ACTOR)
    session.execute(insert(TransitionRow), [_row(first + i, *one, "", "training") for i, one in enumerate(named)])


def _move(session: Session, store: Store, batch: list[tuple[int, int]]) -> None:
    moves = [
        (store.model(model), version, before, after)
        for model, version in batch
        for before, after in pairwise(PATHS[store.stage(version)])
    ]
    first = audit.next_sequence(session)
    audit.append_all(session, Kind.TRANSITION, [(*move[:2], _transition(*move)) for move in moves], ACTOR)
    session.execute(insert(TransitionRow), [_row(first + i, *move) for i, move in enumerate(moves)])


def _transition(model: str, version: int, before: Stage, after: Stage) -> Transition:
    return Transition(0, VersionRef(model, version), before, after, ACTOR.name, "better", ACTOR.at, 0)


def _row(sequence: int, model: str, version: int, before: str, after: str) -> dict[str, Any]:
    moved = {"from_stage": before, "to_stage": after, "actor": ACTOR.name, "reason": "better", "moved_at": ACTOR.at}
    return {"sequence": sequence, "model": model, "version": version, **moved}

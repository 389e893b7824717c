"""Rows that were scored become live data of their version, and predictions for labels that come later."""

import math
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

import numpy as np
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.caller import Role
from modelward.comparison import ModelKind
from modelward.data import Columns
from modelward.drift import DEFAULT_REFERENCE, Outcome
from modelward.errors import FieldViolation, InvalidField, ModelwardError, RoleTooLow
from modelward.lifecycle import VersionRef
from modelward.v1 import scoring_pb2 as pb
from modelward_server import identity
from modelward_server.actor_context import ActorContext
from modelward_server.drift import live_monitoring
from modelward_server.drift.outcomes import check, known_outcomes, record_outcomes
from modelward_server.drift.window_closing import WindowCloser, WindowClosers
from modelward_server.drift.windows import Observer
from modelward_server.rpc.live_monitoring import Taken, Watch, ensure_open
from modelward_server.rpc.observed_batches import BatchTable, numbered
from modelward_server.sandbox.sandbox import Run
from modelward_server.scoring.selection import ChosenVersions
from modelward_server.storage.sources import Sources
from modelward_server.storage.unit_of_work import UnitOfWork

SENDER = "scoring"
WINDOW_ROWS = 1_000
"""A window of such rows closes after so many of them."""
SAME = 1e-6
"""Relative difference up to which two predictions of one row are the same one."""
ACTOR = "modelward"
"""The actor of reports and alarms of these rows."""


@dataclass(frozen=True)
class ScoredRows:
    """A table that a version has scored, with an id for each row."""

    version: VersionRef
    columns: Columns
    ids: Sequence[str]
    run: Run
    at: datetime

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the prediction of each row that the model answered; a class is its label as a number."""
        run = self.run
        for row in run.answered.tolist():
            if run.kind is ModelKind.REGRESSION:
                yield Outcome(self.ids[row], float(run.predicted[row]), predicted_at=self.at)
            else:
                place = int(run.predicted[row])
                sure = None if run.probabilities is None else float(np.clip(run.probabilities[row, place], 0, 1))
                yield Outcome(self.ids[row], float(run.classes[place]), sure, self.at)


def check_observable(chosen: ChosenVersions, options: pb.ScoringOptions, ids: Sequence[str], rows: int) -> None:
    """Refuse rows that cannot be observed, before they are scored.

    Raises:
        RoleTooLow: the client may not record predictions.
        InvalidField: there is not one id for each row, or a version has no reference.
    """
    if not options.observe:
        if ids:
            raise InvalidField(FieldViolation("ids", "are given without observe; set it, or leave them out"))
        return
    _check_role()
    if len(ids) != rows:
        raise InvalidField(FieldViolation("ids", f"has {len(ids)} for {rows} rows; send one for each row"))
    for version in (model.version for model in chosen.models if not model.names):
        fix = f"is set, but {version} has no default reference to compare with; set one with SetReference"
        raise InvalidField(FieldViolation("options.observe", fix))


def check_numeric(run: Run) -> None:
    """Refuse predictions that labels, which are numbers, cannot be compared with.

    Raises:
        InvalidField: the classes are text.
    """
    if any(isinstance(label, str) for label in run.classes):
        fix = "is set, but the classes are text, and outcomes are numbers; record them yourself (RecordOutcomes)"
        raise InvalidField(FieldViolation("options.observe", fix))


def _check_role() -> None:
    client = identity.current.get()
    if client and not client.role.covers(Role.TRAINER):
        message = f"{client.name} has the role {client.role}, and observe requires {Role.TRAINER}"
        raise RoleTooLow(message, role=client.role, needed=Role.TRAINER)


@dataclass(frozen=True)
class _Fitted:
    """A scored table as the features of the reference, and its predictions."""

    table: BatchTable
    outcomes: Sequence[Outcome]

    def without(self, recorded: Container[str]) -> "_Fitted":
        """Return the rows whose predictions are not recorded."""
        assert self.table.ids is not None, "scored rows have ids"
        new = np.array([one not in recorded for one in self.table.ids])
        return _Fitted(self.table.of_rows(new), [one for one in self.outcomes if one.prediction_id not in recorded])


class ScoredRowsMonitor:
    """Writes scored rows, as live data and as predictions, in one transaction."""

    def __init__(self, unit_of_work: UnitOfWork, closers: WindowClosers, sources: Sources) -> None:
        self._unit_of_work = unit_of_work
        self._closers = closers
        self._sources = sources

    async def write(self, scored: Sequence[ScoredRows]) -> None:
        """Write rows; those whose ids have predictions already are left out.

        Raises:
            ReferenceNotFound: a version has no reference any more.
            InvalidField: they do not fit the reference, or contradict recorded outcomes.
        """
        by_version = sorted(scored, key=lambda one: str(one.version))
        for _, same in groupby(by_version, key=lambda one: one.version):
            await self._write_of(list(same))

    async def _write_of(self, scored: Sequence[ScoredRows]) -> None:
        closer = await self._closers.open(self._unit_of_work, _observer(scored[0].version))
        watch = Watch(closer, self._sources)
        fitted = await self._unit_of_work.executors.background.run(_fit, watch, scored)
        await ensure_open(self._unit_of_work, closer.observer, ACTOR)
        await self._unit_of_work.run_prepared_as_system(
            ACTOR,
            lambda session: _prepare(session, watch, fitted),
            lambda session, actor, prepared: _store(session, actor, watch, *prepared),
        )
        await self._close_windows(closer)

    async def _close_windows(self, closer: WindowCloser) -> None:
        """Compare the windows that are full; one that fails is left to the task that closes windows."""
        with suppress(ModelwardError, SQLAlchemyError):
            while await self._unit_of_work.run_prepared_as_system(ACTOR, closer.prepare, closer.store):
                pass


def _observer(version: VersionRef) -> Observer:
    return live_monitoring.with_alarm_defaults(
        Observer(version, DEFAULT_REFERENCE, SENDER, WINDOW_ROWS, timedelta(0), alarm_after=0, alarm_of=0)
    )


def _fit(watch: Watch, scored: Sequence[ScoredRows]) -> list[_Fitted]:
    read = watch.reader.fit([(one.columns, one.ids, one.at) for one in scored])
    return [_Fitted(table, list(one.outcomes())) for table, one in zip(read.tables, scored, strict=True)]


def _prepare(session: Session, watch: Watch, fitted: Sequence[_Fitted]) -> tuple[Taken, list[Outcome]]:
    """Prepare the change for the rows that were not recorded before, with numbers that no other tables have."""
    fresh = list(_not_recorded(session, watch.observer.version, fitted))
    first = watch.closer.state(session).acknowledged + 1
    taken = watch.prepare(session, numbered((one.table for one in fresh), first))
    if taken.refusal:
        raise taken.refusal
    return taken, [outcome for one in fresh for outcome in one.outcomes]


def _not_recorded(session: Session, version: VersionRef, fitted: Sequence[_Fitted]) -> Iterator[_Fitted]:
    """Yield the rows whose predictions are unknown: what is repeated, in whole or in part, is recorded once."""
    ids = {outcome.prediction_id for one in fitted for outcome in one.outcomes}
    known = known_outcomes(session, version, ids)
    for one in fitted:
        recorded = {new.prediction_id for new in one.outcomes if _is_recorded(new, known.get(new.prediction_id))}
        if not one.outcomes or len(recorded) < len(one.outcomes):
            yield one.without(recorded) if recorded else one
        known |= {new.prediction_id: new for new in one.outcomes if new.prediction_id not in known}


def _is_recorded(new: Outcome, known: Outcome | None) -> bool:
    """Return whether a prediction is recorded already; among other rows it may differ in the last digits."""
    if known is None or known.prediction is None or new.prediction is None:
        return False
    return math.isclose(known.prediction, new.prediction, rel_tol=SAME)


def _store(session: Session, actor: ActorContext, watch: Watch, taken: Taken, outcomes: Sequence[Outcome]) -> None:
    watch.take(session, actor, taken)
    if outcomes:
        check(outcomes)
        record_outcomes(session, watch.observer.version, outcomes, actor)

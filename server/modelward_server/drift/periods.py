"""Outcomes cut into periods, and how a version performed in each."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, ColumnElement, Select, and_, case, exists, func, literal_column, select, type_coerce
from sqlalchemy.orm import Session

from modelward.comparison import ModelKind
from modelward.drift import Performance
from modelward.lifecycle import Page, VersionRef
from modelward_server.drift.performance import (
    MOST_LABELLED,
    Calibration,
    Rows,
    calibrated,
    calibration_error,
    estimated,
    metrics_of,
)
from modelward_server.drift.performance_test import PeriodLoss
from modelward_server.lifecycle.repository import version_row
from modelward_server.storage.outcome_tables import EPOCH, MICROSECOND, JudgedPeriodRow, OutcomeRow
from modelward_server.storage.paging import lazy_page

LEAST_ERROR = 1e-60
"""Errors below it are none: PostgreSQL refuses to square what has no square."""
MOST_PERIODS = 1000
"""How far back a baseline reaches, so that judging a period takes no longer the older a version is."""
_microseconds = type_coerce(OutcomeRow.predicted_at, BigInteger)


@dataclass(frozen=True)
class Periods:
    """The outcomes of a version, cut into periods that count from 1970 in UTC."""

    ref: VersionRef
    length: timedelta
    horizon: timedelta
    """How long after a prediction its label is known."""

    def start_of(self, at: datetime) -> datetime:
        return EPOCH + (at - EPOCH) // self.length * self.length

    def newest_before(self, session: Session, end: datetime | None, *, labelled: bool = False) -> datetime | None:
        """Return when the newest period begins that has a prediction (with a label) before `end`."""
        query = select(func.max(OutcomeRow.predicted_at)).where(self._mine())
        if end is not None:
            query = query.where(OutcomeRow.predicted_at < end)
        if labelled:
            query = query.where(OutcomeRow.label.is_not(None))
        newest = session.scalar(query)
        return None if newest is None else self.start_of(newest)

    def before(self, session: Session, end: datetime | None) -> Iterator[datetime]:
        """Yield when each period begins that has a prediction before `end`, the newest first."""
        while (end := self.newest_before(session, end)) is not None:
            yield end

    def rows(self, session: Session, start: datetime, now: datetime) -> Rows:
        """Fetch the predictions of one period."""
        return _fetch(session, self._columns(now).where(self.within(start)))

    def newest_labelled(self, session: Session, now: datetime) -> Rows:
        """Fetch the newest matured predictions whose labels have come, `MOST_LABELLED` at the most."""
        wanted = self._columns(now).where(OutcomeRow.label.is_not(None), self._matured(now))
        return _fetch(session, wanted.order_by(OutcomeRow.predicted_at.desc()).limit(MOST_LABELLED))

    def kind(self, session: Session) -> ModelKind:
        """Say what is predicted: classes where there are probabilities, or where all that is labelled is integers."""
        joined = and_(self._mine(), OutcomeRow.predicted_at.is_not(None))
        if session.scalar(select(exists().where(joined, OutcomeRow.probability.is_not(None)))):
            return ModelKind.CLASSIFICATION
        broken = [func.round(column) != column for column in (OutcomeRow.label, OutcomeRow.prediction)]
        fractions = select(exists().where(joined, OutcomeRow.label.is_not(None), broken[0] | broken[1]))
        return ModelKind.REGRESSION if session.scalar(fractions) else ModelKind.CLASSIFICATION

    def losses(self, session: Session, last: datetime, *, classes: bool) -> list[tuple[datetime, PeriodLoss]]:
        """Return the losses of the labelled predictions in each period up to `last`, the oldest first."""
        length = self.length // MICROSECOND
        divisor = literal_column(str(length), BigInteger)
        start = _microseconds - (_microseconds % divisor + divisor) % divisor  # Before 1970 the first % is negative.
        loss = _loss(classes)
        query = (
            select(start, func.count(), func.sum(loss), func.sum(loss * loss), func.max(func.abs(OutcomeRow.label)))
            .where(self._mine(), OutcomeRow.label.is_not(None), OutcomeRow.predicted_at < last + self.length)
            .where(_microseconds >= (last - EPOCH) // MICROSECOND - MOST_PERIODS * length)
            .group_by(start)
            .order_by(start)
        )
        found = ((row[0], row[1:]) for row in session.execute(query).all())
        return [(EPOCH + at * MICROSECOND, PeriodLoss(*sums)) for at, sums in found]

    def lacks_labels(self, session: Session, start: datetime) -> bool:
        return bool(session.scalar(select(exists().where(self.within(start), OutcomeRow.label.is_(None)))))

    def within(self, start: datetime) -> ColumnElement[bool]:
        end = start + self.length
        return and_(self._mine(), OutcomeRow.predicted_at >= start, OutcomeRow.predicted_at < end)

    def _mine(self) -> ColumnElement[bool]:
        return and_(OutcomeRow.model == self.ref.model, OutcomeRow.version == self.ref.version)

    def _matured(self, now: datetime) -> ColumnElement[bool]:
        return OutcomeRow.predicted_at <= now - self.horizon

    def _columns(self, now: datetime) -> Select[Any]:
        figures = (OutcomeRow.prediction, OutcomeRow.probability, OutcomeRow.label)
        return select(*figures, case((self._matured(now), 1), else_=0)).where(self._mine())


def list_performance(
    session: Session, periods: Periods, page_size: int, page_token: str, now: datetime
) -> Page[Performance]:
    """Return a page of how a version performed, the newest period first; periods without a prediction are left out.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        InvalidField: the token is not one of this list's.
    """
    version_row(session, periods.ref)
    reader = _Reader(session, periods, now)
    return lazy_page(session, reader.behind, lambda period: period.start, page_size, page_token, periods)


class _Reader:
    """Measures one period after the other, with one at a time in memory."""

    def __init__(self, session: Session, periods: Periods, now: datetime) -> None:
        self._session = session
        self._periods = periods
        self._now = now

    @cached_property
    def _kind(self) -> ModelKind:
        return self._periods.kind(self._session)

    @cached_property
    def _calibration(self) -> Calibration | None:
        """What probabilities are worth: learnt when the first period without labels is met."""
        return calibrated(self._periods.newest_labelled(self._session, self._now))

    def behind(self, end: datetime | None) -> Iterator[Performance]:
        return map(self._performance, self._periods.before(self._session, end))

    def _performance(self, start: datetime) -> Performance:
        rows = self._periods.rows(self._session, start, self._now)
        judged, classes = rows.judged, self._kind is ModelKind.CLASSIFICATION
        promised = estimated(rows, self._calibration) if classes and not len(judged) else {}
        return Performance(
            start=start,
            end=start + self._periods.length,
            predictions=len(rows),
            matured=int(rows.matured.sum()),
            labelled=len(judged),
            metrics=promised or metrics_of(judged, self._kind),
            estimated=bool(promised),
            calibration_error=calibration_error(judged) if classes else None,
            declined=self._declined(start),
        )

    def _declined(self, start: datetime) -> bool:
        ref = self._periods.ref
        row = self._session.get(JudgedPeriodRow, (ref.model, ref.version, start, start + self._periods.length))
        return row is not None and row.declined


def _fetch(session: Session, query: Select[Any]) -> Rows:
    rows = [tuple(row) for row in session.execute(query)]  # From tuples numpy makes an array ten times as fast.
    found = np.array(rows, np.float64).reshape(-1, 4)  # None becomes NaN.
    return Rows(found[:, 0], found[:, 1], found[:, 2], found[:, 3] > 0)


def _loss(classes: bool) -> ColumnElement[float]:
    if classes:
        return case((OutcomeRow.prediction == OutcomeRow.label, 0.0), else_=1.0)
    error = OutcomeRow.prediction - OutcomeRow.label
    return case((func.abs(error) < LEAST_ERROR, 0.0), else_=error * error)

"""Outcomes divided into periods, and the performance of a version in each."""

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
    MAX_LABELLED,
    Calibration,
    PredictionRows,
    calibrated,
    calibration_error,
    estimated,
    metrics_of,
)
from modelward_server.drift.performance_test import PeriodLoss
from modelward_server.lifecycle.repository import version_row
from modelward_server.storage.outcome_tables import EPOCH, MICROSECOND, JudgedPeriodRow, OutcomeRow
from modelward_server.storage.paging import lazy_page

DEFAULT_PERIOD = timedelta(days=1)
MIN_ERROR = 1e-60
"""Smaller errors count as 0: PostgreSQL raises an error if a square underflows."""
MAX_PERIODS = 1000
"""Maximum number of periods in a baseline, so that testing a period does not take longer as a version ages."""
BY_TIME = (OutcomeRow.predicted_at, OutcomeRow.prediction_id)
"""The order of predictions: whatever order they arrive in, their metrics are the same to the last digit."""
_microseconds = type_coerce(OutcomeRow.predicted_at, BigInteger)


@dataclass(frozen=True)
class Periods:
    """The outcomes of a version, divided into periods that begin at multiples of their length since 1970 in UTC."""

    ref: VersionRef
    length: timedelta
    horizon: timedelta
    """The time after a prediction at which its label is known."""
    until: datetime | None = None
    """What was known then, by the times of predictions and labels; None: everything."""

    def start_of(self, at: datetime) -> datetime:
        """Return the start of the period that contains a time."""
        return EPOCH + (at - EPOCH) // self.length * self.length

    def newest_before(self, session: Session, end: datetime | None, *, labelled: bool = False) -> datetime | None:
        """Return the start of the newest period that has a prediction (if `labelled`, with a label) before `end`."""
        query = select(func.max(OutcomeRow.predicted_at)).where(self._own_rows())
        if end is not None:
            query = query.where(OutcomeRow.predicted_at < end)
        if labelled:
            query = query.where(self._label.is_not(None))
        newest = session.scalar(query)
        return None if newest is None else self.start_of(newest)

    def before(self, session: Session, end: datetime | None) -> Iterator[datetime]:
        """Yield the start of each period that has a prediction before `end`, the newest first."""
        while (end := self.newest_before(session, end)) is not None:
            yield end

    def rows(self, session: Session, start: datetime, now: datetime) -> PredictionRows:
        """Fetch the predictions of one period."""
        return _fetch(session, self._columns(now).where(self.within(start)).order_by(*BY_TIME))

    def newest_labelled(self, session: Session, now: datetime) -> PredictionRows:
        """Fetch the newest matured predictions with labels, at most `MAX_LABELLED`."""
        labelled = self._columns(now).where(self._label.is_not(None), self._matured(now))
        return _fetch(session, labelled.order_by(*(key.desc() for key in BY_TIME)).limit(MAX_LABELLED))

    def kind(self, session: Session) -> ModelKind:
        """Return the kind of model: a classifier if there are probabilities or all labelled values are integers."""
        joined = and_(self._own_rows(), OutcomeRow.predicted_at.is_not(None))
        if session.scalar(select(exists().where(joined, OutcomeRow.probability.is_not(None)))):
            return ModelKind.CLASSIFICATION
        fractional = [func.round(column) != column for column in (OutcomeRow.label, OutcomeRow.prediction)]
        fractions = select(exists().where(joined, OutcomeRow.label.is_not(None), fractional[0] | fractional[1]))
        return ModelKind.REGRESSION if session.scalar(fractions) else ModelKind.CLASSIFICATION

    def losses(self, session: Session, last: datetime, *, classes: bool) -> list[tuple[datetime, PeriodLoss]]:
        """Return the start and the loss of each period with labelled predictions up to `last`, the oldest first."""
        length = self.length // MICROSECOND
        divisor = literal_column(str(length), BigInteger)
        start = _microseconds - (_microseconds % divisor + divisor) % divisor  # Before 1970 the first % is negative.
        loss = _loss(classes)
        query = (
            select(start, func.count(), func.sum(loss), func.sum(loss * loss), func.max(func.abs(OutcomeRow.label)))
            .where(self._own_rows(), OutcomeRow.label.is_not(None), OutcomeRow.predicted_at < last + self.length)
            .where(_microseconds >= (last - EPOCH) // MICROSECOND - MAX_PERIODS * length)
            .group_by(start)
            .order_by(start)
        )
        rows = ((row[0], row[1:]) for row in session.execute(query).all())
        return [(EPOCH + at * MICROSECOND, PeriodLoss(*sums)) for at, sums in rows]

    def lacks_labels(self, session: Session, start: datetime) -> bool:
        """Return whether a period has a prediction without a label."""
        return bool(session.scalar(select(exists().where(self.within(start), OutcomeRow.label.is_(None)))))

    def within(self, start: datetime) -> ColumnElement[bool]:
        """Return the condition that a row is an outcome of one period."""
        end = start + self.length
        return and_(self._own_rows(), OutcomeRow.predicted_at >= start, OutcomeRow.predicted_at < end)

    def is_known(self, at: datetime) -> bool:
        """Return whether something that was found at a time belongs to what was known."""
        return self.until is None or at <= self.until

    @property
    def _label(self) -> ColumnElement[float | None]:
        if self.until is None:
            return OutcomeRow.label.expression
        return case((OutcomeRow.labelled_at <= self.until, OutcomeRow.label))

    def _own_rows(self) -> ColumnElement[bool]:
        own = and_(OutcomeRow.model == self.ref.model, OutcomeRow.version == self.ref.version)
        return own if self.until is None else and_(own, OutcomeRow.predicted_at <= self.until)

    def _matured(self, now: datetime) -> ColumnElement[bool]:
        return OutcomeRow.predicted_at <= now - self.horizon

    def _columns(self, now: datetime) -> Select[Any]:
        values = (OutcomeRow.prediction, OutcomeRow.probability, self._label)
        return select(*values, case((self._matured(now), 1), else_=0)).where(self._own_rows())


def list_performance(
    session: Session, periods: Periods, page_size: int, page_token: str, now: datetime
) -> Page[Performance]:
    """Return a page of the performance of a version, the newest period first, without periods that lack predictions.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        InvalidField: the page token does not belong to this list.
    """
    version_row(session, periods.ref)
    reader = _Reader(session, periods, now)
    return lazy_page(session, reader.behind, lambda period: period.start, page_size, page_token, periods)


def performance(session: Session, periods: Periods, now: datetime) -> Iterator[Performance]:
    """Yield the performance of a version in each period that has a prediction, the newest first.

    Args:
        session: the transaction.
        periods: which periods.
        now: the time at which labels are mature or not.
    """
    return _Reader(session, periods, now).behind(None)


def judged_lengths(session: Session, ref: VersionRef) -> list[timedelta]:
    """Return the lengths of the periods of a version that were tested for a decline, the shortest first."""
    row = JudgedPeriodRow
    length = type_coerce(row.ends_at, BigInteger) - type_coerce(row.starts_at, BigInteger)
    lengths = select(length).where(row.model == ref.model, row.version == ref.version).distinct().order_by(length)
    return [found * MICROSECOND for found in session.scalars(lengths)]


class _Reader:
    """Computes the performance period by period, with one period at a time in memory."""

    def __init__(self, session: Session, periods: Periods, now: datetime) -> None:
        self._session = session
        self._periods = periods
        self._now = now

    @cached_property
    def _kind(self) -> ModelKind:
        return self._periods.kind(self._session)

    @cached_property
    def _calibration(self) -> Calibration | None:
        """The calibration of probabilities, fitted when the first period without labels is reached."""
        return calibrated(self._periods.newest_labelled(self._session, self._now))

    def behind(self, end: datetime | None) -> Iterator[Performance]:
        return map(self._performance, self._periods.before(self._session, end))

    def _performance(self, start: datetime) -> Performance:
        rows = self._periods.rows(self._session, start, self._now)
        judged, classes = rows.judged, self._kind is ModelKind.CLASSIFICATION
        estimates = estimated(rows, self._calibration) if classes and not len(judged) else {}
        return Performance(
            start=start,
            end=start + self._periods.length,
            predictions=len(rows),
            matured=int(rows.matured.sum()),
            labelled=len(judged),
            metrics=estimates or metrics_of(judged, self._kind),
            estimated=bool(estimates),
            calibration_error=calibration_error(judged) if classes else None,
            declined=self._declined(start),
        )

    def _declined(self, start: datetime) -> bool:
        ref = self._periods.ref
        row = self._session.get(JudgedPeriodRow, (ref.model, ref.version, start, start + self._periods.length))
        return row is not None and row.declined and self._periods.is_known(row.judged_at)


def _fetch(session: Session, query: Select[Any]) -> PredictionRows:
    rows = [tuple(row) for row in session.execute(query)]  # numpy converts tuples ten times as fast as rows.
    table = np.array(rows, np.float64).reshape(-1, 4)  # None becomes NaN.
    return PredictionRows(table[:, 0], table[:, 1], table[:, 2], table[:, 3] > 0)


def _loss(classes: bool) -> ColumnElement[float]:
    if classes:
        return case((OutcomeRow.prediction == OutcomeRow.label, 0.0), else_=1.0)
    error = OutcomeRow.prediction - OutcomeRow.label
    return case((func.abs(error) < MIN_ERROR, 0.0), else_=error * error)

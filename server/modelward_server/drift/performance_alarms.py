"""Performance alarms: raised for versions whose performance declined."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.comparison import ModelKind
from modelward.lifecycle import PerformanceAlarm, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.drift.performance_test import PerformanceTestResult, compare_period
from modelward_server.drift.periods import Periods
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.outcome_tables import JudgedPeriodRow


def evaluate_newest_period(
    session: Session, periods: Periods, now: datetime
) -> tuple[datetime, PerformanceTestResult] | None:
    """Test the newest complete period for a decline.

    Returns:
        The start of the period and the result; None if there is no such period, it was tested already, or there are too
        few rows or periods.
    """
    start = newest_complete(session, periods, now)
    if start is None or session.get(JudgedPeriodRow, _key(periods, start)) is not None:
        return None
    classes = periods.kind(session) is ModelKind.CLASSIFICATION
    *earlier, (_, newest) = periods.losses(session, start, classes=classes)
    found = compare_period([loss for _, loss in earlier], newest, classes=classes)
    return None if found is None else (start, found)


def keep_test_result(
    session: Session, periods: Periods, start: datetime, found: PerformanceTestResult, actor: ActorContext
) -> None:
    """Store the result of a period's test, once, and raise an alarm if the version declined in it."""
    if session.get(JudgedPeriodRow, _key(periods, start)) is None:
        _keep(session, periods, start, found, actor)


def newest_complete(session: Session, periods: Periods, now: datetime) -> datetime | None:
    """Return the start of the newest period that has matured and whose labels have arrived.

    Labels arrive approximately in the order of time: if a later period already has some, labels that are still missing
    in an earlier one are not waited for.
    """
    due = periods.start_of(now - periods.horizon)
    newest = periods.newest_before(session, due, labelled=True)
    if newest is not None and periods.lacks_labels(session, newest):
        return periods.newest_before(session, newest, labelled=True)
    return newest


def active_performance_alarm(
    session: Session, ref: VersionRef, since: datetime, until: datetime | None = None
) -> tuple[PerformanceAlarm, datetime] | None:
    """Return the alarm of the period tested last, and when it was raised; None if it did not decline or is older.

    Args:
        session: the transaction.
        ref: the version.
        since: alarms up to this time do not count.
        until: the alarm as it was at this time; None means now.
    """
    own_rows = select(JudgedPeriodRow).where(JudgedPeriodRow.model == ref.model, JudgedPeriodRow.version == ref.version)
    own_rows = own_rows if until is None else own_rows.where(JudgedPeriodRow.judged_at <= until)
    latest = own_rows.order_by(JudgedPeriodRow.judged_at.desc(), JudgedPeriodRow.starts_at.desc()).limit(1)
    row = session.scalar(latest)
    if row is None or not row.declined or row.judged_at <= since:
        return None
    return to_alarm(row), row.judged_at


def _keep(
    session: Session, periods: Periods, start: datetime, found: PerformanceTestResult, actor: ActorContext
) -> None:
    model, version, starts_at, ends_at = _key(periods, start)
    row = JudgedPeriodRow(
        model=model,
        version=version,
        starts_at=starts_at,
        ends_at=ends_at,
        judged_at=actor.at,
        metric=found.metric,
        value=found.value,
        baseline=found.baseline,
        p_value=found.p_value,
        declined=found.declined,
    )
    session.add(row)
    if found.declined:
        audit.append(session, Kind.PERFORMANCE_ALARM, model, to_alarm(row), actor, version=version)


def _key(periods: Periods, start: datetime) -> tuple[str, int, datetime, datetime]:
    return periods.ref.model, periods.ref.version, start, start + periods.length


def to_alarm(row: JudgedPeriodRow) -> PerformanceAlarm:
    return PerformanceAlarm(
        version=VersionRef(row.model, row.version),
        metric=row.metric,
        value=row.value,
        baseline=row.baseline,
        start=row.starts_at,
        end=row.ends_at,
        p_value=row.p_value,
    )

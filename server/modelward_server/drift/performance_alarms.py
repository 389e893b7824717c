"""Alarms for versions that perform worse than they did."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.comparison import ModelKind
from modelward.lifecycle import PerformanceAlarm, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.drift.performance_test import Judgement, judge
from modelward_server.drift.periods import Periods
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.outcome_tables import JudgedPeriodRow


def judge_newest(session: Session, periods: Periods, now: datetime) -> tuple[datetime, Judgement] | None:
    """Judge the newest complete period; None when there is none, or it was judged already, or nothing can be said."""
    start = newest_complete(session, periods, now)
    if start is None or session.get(JudgedPeriodRow, _key(periods, start)) is not None:
        return None
    classes = periods.kind(session) is ModelKind.CLASSIFICATION
    *earlier, (_, newest) = periods.losses(session, start, classes=classes)
    found = judge([loss for _, loss in earlier], newest, classes=classes)
    return None if found is None else (start, found)


def keep_judgement(session: Session, periods: Periods, start: datetime, found: Judgement, actor: ActorContext) -> None:
    """Keep what was found of a period, once, and raise an alarm when the version declined in it."""
    if session.get(JudgedPeriodRow, _key(periods, start)) is None:
        _keep(session, periods, start, found, actor)


def newest_complete(session: Session, periods: Periods, now: datetime) -> datetime | None:
    """Return when the newest period begins that is old enough and whose labels are there.

    Labels come in the order of time by and large: when a later period has some already, those that are still missing
    are not waited for.
    """
    due = periods.start_of(now - periods.horizon)
    newest = periods.newest_before(session, due, labelled=True)
    if newest is not None and periods.lacks_labels(session, newest):
        return periods.newest_before(session, newest, labelled=True)
    return newest


def standing_alarm(session: Session, ref: VersionRef, since: datetime) -> tuple[PerformanceAlarm, datetime] | None:
    """Return the alarm of the period that was judged last, and when it was raised; None when that is well or older."""
    mine = select(JudgedPeriodRow).where(JudgedPeriodRow.model == ref.model, JudgedPeriodRow.version == ref.version)
    latest = mine.order_by(JudgedPeriodRow.judged_at.desc(), JudgedPeriodRow.starts_at.desc()).limit(1)
    row = session.scalar(latest)
    if row is None or not row.declined or row.judged_at <= since:
        return None
    return _alarm(row), row.judged_at


def _keep(session: Session, periods: Periods, start: datetime, found: Judgement, actor: ActorContext) -> None:
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
        audit.append(session, Kind.PERFORMANCE_ALARM, model, _alarm(row), actor, version=version)


def _key(periods: Periods, start: datetime) -> tuple[str, int, datetime, datetime]:
    return periods.ref.model, periods.ref.version, start, start + periods.length


def _alarm(row: JudgedPeriodRow) -> PerformanceAlarm:
    return PerformanceAlarm(
        version=VersionRef(row.model, row.version),
        metric=row.metric,
        value=row.value,
        baseline=row.baseline,
        start=row.starts_at,
        end=row.ends_at,
        p_value=row.p_value,
    )

"""The year of a report: its days, its first and last instants, and the records of the audit log that it spans."""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import MINYEAR, UTC, date, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward_server.storage.audit import GENESIS, last_sequence
from modelward_server.storage.tables import AuditRow

DAY = timedelta(days=1)


@dataclass(frozen=True)
class ReportPeriod:
    """The days of a report, in UTC, and the records that were made in them.

    Attributes:
        since: the first day.
        as_of: the last day.
        start: the first instant.
        end: the first instant that no longer belongs to it: that after the last day, or now, if that is today.
        before: the sequence number of the last record before it; 0 if there is none.
        last: that of its last record, or of the last one before it, if it has none.
        last_hash: the hash of that record.
    """

    since: date
    as_of: date
    start: datetime
    end: datetime
    before: int
    last: int
    last_hash: str

    @property
    def is_over(self) -> bool:
        """Whether the last day had ended when the report was made."""
        return self.end == _midnight(self.as_of + DAY)

    @property
    def at(self) -> datetime:
        """Its last instant, as of which states are stated."""
        return self.end - datetime.resolution

    def holds(self, sequence: int) -> bool:
        """Return whether a record was made in it."""
        return self.before < sequence <= self.last


def report_period(session: Session, as_of: date, since: date | None, now: datetime) -> ReportPeriod:
    """Return the period of a report.

    Args:
        session: the transaction.
        as_of: the last day.
        since: the first day; None for that of the year that ends with `as_of`.
        now: the current time.

    Raises:
        InvalidField: the last day is in the future, before the first one, or without a year before it.
    """
    if since is None and as_of.year == MINYEAR:
        raise InvalidField(FieldViolation("as_of", f"{as_of} is in the first year that there is"))
    first = since or first_day(as_of)
    _check(first, as_of, now)
    start, end = _midnight(first), min(_midnight(as_of + DAY), now)
    before, last = _last_before(session, start), _last_before(session, end)
    row = session.get(AuditRow, last)
    return ReportPeriod(first, as_of, start, end, before, last, row.hash if row else GENESIS)


def first_day(as_of: date) -> date:
    """Return the first day of the year that ends with a day: 365 days with it, or 366 with a leap day among them."""
    leap_day = (as_of.month, as_of.day) == (2, 29)
    return as_of.replace(year=as_of.year - 1, day=28 if leap_day else as_of.day) + DAY


def _check(since: date, as_of: date, now: datetime) -> None:
    if as_of > now.astimezone(UTC).date():
        raise InvalidField(FieldViolation("as_of", f"{as_of} is in the future; today is the last day possible"))
    if since > as_of:
        raise InvalidField(FieldViolation("since", f"{since} is later than the last day, {as_of}"))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _last_before(session: Session, at: datetime) -> int:
    """Return the number of the last record before an instant, by bisection: times are in the order of the numbers."""

    def made_at(sequence: int) -> datetime:
        return session.scalars(select(AuditRow.happened_at).where(AuditRow.sequence == sequence)).one()

    return bisect_left(range(1, last_sequence(session) + 1), at, key=made_at)

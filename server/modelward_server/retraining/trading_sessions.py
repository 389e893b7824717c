"""Opening and closing times of trading sessions, by `exchange_calendars`, with early closes and late openings.

Its calendars end about a year ahead of today, some sooner. Later sessions are not guessed: `CalendarEnds` is raised.
"""

import logging
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.metadata import version
from itertools import groupby
from typing import Any

from modelward.errors import CalendarEnds, FieldViolation, InvalidField
from modelward.retraining import AtSession, SessionChoice
from modelward_server.libraries import load

log = logging.getLogger(__name__)

SESSION_PHRASES = {
    SessionChoice.EVERY: "each session",
    SessionChoice.FIRST_OF_WEEK: "the first session of the week",
    SessionChoice.FIRST_OF_MONTH: "the first session of the month",
}

UPDATE = "update the exchange_calendars package of the server"


def check_calendar(mic: str, field: str) -> None:
    """Validate the name of a calendar.

    Raises:
        InvalidField: it is unknown, cannot be built by this server, or has no future sessions; the error names the
            field.
    """
    exchange_calendars = load("exchange_calendars")
    if mic not in exchange_calendars.get_calendar_names(include_aliases=False):
        fix = f"{mic!r} is not a calendar; name the exchange by its MIC, such as 'XNYS', 'XLON' or 'XTKS'"
        raise InvalidField(FieldViolation(field, fix))
    try:
        _, last = _bounds(mic, _month())
    except CalendarEnds as error:
        raise InvalidField(FieldViolation(field, error.message)) from error
    if last <= datetime.now(UTC):
        raise InvalidField(FieldViolation(field, f"the calendar {mic} ended on {last:%Y-%m-%d}; {UPDATE}"))


def session_times(trigger: AtSession, after: datetime) -> Iterator[datetime]:
    """Yield the instants in UTC, all later than `after`, at which a trigger fires.

    Raises:
        CalendarEnds: `after` is before the calendar's first session, or its last session has been yielded.
    """
    if after < _bounds(trigger.calendar, _month())[0]:
        raise calendar_ends(trigger)
    moments = _moments(trigger.calendar, trigger.sessions, trigger.after_open is not None, _month())
    yield from (at + trigger.offset for at in moments[bisect_right(moments, after - trigger.offset) :])
    raise calendar_ends(trigger)


def last_known(trigger: AtSession) -> datetime | None:
    """Return the end of the calendar's last session, until which its firings are known; None without a calendar."""
    with suppress(CalendarEnds):
        return _bounds(trigger.calendar, _month())[1]
    return None


def zone_of(trigger: AtSession) -> Any:
    """Return the exchange's time zone."""
    return _calendar(trigger.calendar, _month()).tz


def calendar_ends(trigger: AtSession) -> CalendarEnds:
    """Return the error that states the range of a trigger's calendar."""
    first, last = (f"{bound:%Y-%m-%d}" for bound in _bounds(trigger.calendar, _month()))
    fix = f"request fewer firings, or {UPDATE}"
    message = f"the calendar {trigger.calendar} has sessions from {first} to {last} only; {fix}"
    return CalendarEnds(message, calendar=trigger.calendar, first_session=first, last_session=last)


def _month() -> date:
    """Return the cache key of a calendar: it extends to a year after the day on which it was built."""
    return datetime.now(UTC).date().replace(day=1)


def _calendar(mic: str, month: date) -> Any:
    """Return a calendar.

    Raises:
        CalendarEnds: this server does not know it, or its package cannot build it.
    """
    calendar = _built(mic, month)
    if isinstance(calendar, str):
        raise CalendarEnds(calendar, calendar=mic)
    return calendar


@lru_cache(maxsize=128)
def _built(mic: str, month: date) -> Any:
    """Build a calendar, or return why it cannot be built; some of the package's calendars cannot."""
    exchange_calendars = load("exchange_calendars")
    try:
        kind = type(exchange_calendars.get_calendar(mic))
        calendar = kind()  # Built again: `get_calendar` caches calendars indefinitely.
        assert calendar.last_session_close > calendar.first_session_open
    except exchange_calendars.errors.InvalidCalendarName:  # It was known to another server, with a newer package.
        return f"this server does not know the calendar {mic}; {UPDATE}"
    except Exception as error:
        log.warning("the calendar %s cannot be built: %s: %.200s", mic, type(error).__name__, error)
        package = f"exchange_calendars {version('exchange_calendars')}"
        return f"this server's {package} cannot build the calendar {mic}; {UPDATE}"
    return calendar


@lru_cache(maxsize=128)
def _bounds(mic: str, month: date) -> tuple[datetime, datetime]:
    calendar = _calendar(mic, month)
    return calendar.first_session_open.to_pydatetime(), calendar.last_session_close.to_pydatetime()


@lru_cache(maxsize=512)
def _moments(mic: str, sessions: SessionChoice, at_open: bool, month: date) -> Sequence[datetime]:
    """Return the opening or closing times of the chosen sessions, in order."""
    calendar = _calendar(mic, month)
    times = (calendar.opens if at_open else calendar.closes).dt.to_pydatetime()
    days = [session.date() for session in calendar.sessions]
    groups = groupby(zip(days, times, strict=True), key=lambda item: _group(item[0], sessions))
    firsts = [next(group)[1].astimezone(UTC) for _, group in groups]
    return firsts[1:]  # The calendar may begin in the middle of a week or a month.


def _group(day: date, sessions: SessionChoice) -> Hashable:
    """Return the key of the group of which a session may be the first."""
    if sessions is SessionChoice.FIRST_OF_WEEK:
        return day - timedelta(days=day.weekday())
    return (day.year, day.month) if sessions is SessionChoice.FIRST_OF_MONTH else day

"""Exchange calendars, by `exchange_calendars`: their sessions, and the closures between these.

The calendars end about a year ahead of today, some sooner. Later sessions are not guessed: `CalendarEnds` is raised.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import CalendarEnds, FieldViolation, InvalidField
from modelward_server.libraries import load

log = logging.getLogger(__name__)

FIRST_YEAR = 1990
"""Histories of sessions begin here, or later where the calendar does."""
UPDATE = "update the exchange_calendars package of the server"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Closures:
    """The places of a calendar's sessions between closures of some length.

    Attributes:
        days: the dates of the sessions, datetime64[D], ascending, shape (sessions,).
        after: 1 for the first session after a closure, 2 for the second, ..., shape (sessions,); 0 before the first
            closure that the calendar knows.
        before: 1 for the last session before a closure, 2 for the one before it, ..., shape (sessions,); 0 after the
            last closure.
    """

    days: NDArray[np.datetime64]
    after: Ints
    before: Ints

    def between(self, first: int, last: int) -> NDArray[np.bool_]:
        """Return which sessions are at the places `first` to `last`, both included.

        1 is the first after a closure, -1 the last before one; 0 is no place.
        """
        after = (self.after >= max(first, 1)) & (self.after <= last)
        before = (self.before >= max(-last, 1)) & (self.before <= -first)
        return np.asarray(after | before)


@dataclass(frozen=True)
class SessionRange:
    """Consecutive sessions of an exchange.

    Attributes:
        calendar: the exchange's calendar.
        first: the date of the first session.
        last: the date of the last session, included.
        sessions: their number.
    """

    calendar: str
    first: date
    last: date
    sessions: int

    def __str__(self) -> str:
        """Return `the 60 sessions of XNYS from 2026-09-01 to 2026-11-24`."""
        return f"the {self.sessions} sessions of {self.calendar} from {self.first} to {self.last}"


def closed_sessions(mic: str, count: int, before: datetime) -> SessionRange:
    """Return the last sessions that closed before a time, without any later one.

    Raises:
        CalendarEnds: as `calendar_of`; or there are fewer, or the calendar ends before that time.
    """
    calendar = history(mic, this_month())
    closes = _utc(calendar.closes)
    end = int(np.searchsorted(closes, np.datetime64(before.astimezone(UTC).replace(tzinfo=None)), side="right"))
    if not count <= end < len(closes):
        days = calendar.sessions.values.astype("M8[D]")
        span = f"has sessions from {days[0]} to {days[-1]} only, not {count} before {before:%Y-%m-%d}"
        raise CalendarEnds(f"the calendar {mic} {span}; {UPDATE}", calendar=mic)
    days = calendar.sessions[end - count : end]
    return SessionRange(mic, days[0].date(), days[-1].date(), count)


def start_of(session: date, mic: str) -> datetime:
    """Return a time before every row of a session: its opening, or the midnight in UTC that stands for its date."""
    opens: datetime = history(mic, this_month()).opens[session.isoformat()].to_pydatetime().astimezone(UTC)
    return min(opens, datetime(session.year, session.month, session.day, tzinfo=UTC))


def session_dates(times: NDArray[Any], mic: str) -> NDArray[np.datetime64]:
    """Return the date of the session of each time: dates are taken as they are, times on the exchange's own clock.

    A time within a session that began on the day before belongs to that session.
    """
    dates = times.astype("M8[D]")
    if (dates == times).all():
        return dates
    calendar = history(mic, this_month())
    opens, closes = (_utc(one) for one in (calendar.opens, calendar.closes))
    moments = times.astype("M8[us]")
    place = np.minimum(np.searchsorted(closes, moments), len(closes) - 1)
    within = (moments >= opens[place]) & (moments <= closes[place])
    return np.where(within, calendar.sessions.values.astype("M8[D]")[place], _local_dates(moments, calendar.tz))


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
        _, last = bounds(mic, this_month())
    except CalendarEnds as error:
        raise InvalidField(FieldViolation(field, error.message)) from error
    if last <= datetime.now(UTC):
        raise InvalidField(FieldViolation(field, f"the calendar {mic} ended on {last:%Y-%m-%d}; {UPDATE}"))


def this_month() -> date:
    """Return the cache key of a calendar: it extends to a year after the day on which it was built."""
    return datetime.now(UTC).date().replace(day=1)


def calendar_of(mic: str, month: date) -> Any:
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


@lru_cache(maxsize=32)
def history(mic: str, month: date) -> Any:
    """Return a calendar with its sessions of past decades, not only of the last two.

    Raises:
        CalendarEnds: as `calendar_of`.
    """
    kind = type(calendar_of(mic, month))
    known = kind.bound_min()
    start = datetime(FIRST_YEAR, 1, 1)  # noqa: DTZ001 - the package's dates have no zone
    return kind(start=start if known is None else max(start, known.to_pydatetime()))


@lru_cache(maxsize=128)
def bounds(mic: str, month: date) -> tuple[datetime, datetime]:
    """Return the opening of a calendar's first session and the closing of its last."""
    calendar = calendar_of(mic, month)
    return calendar.first_session_open.to_pydatetime(), calendar.last_session_close.to_pydatetime()


@lru_cache(maxsize=128)
def closures(mic: str, days: int, month: date) -> Closures:
    """Return the places of a calendar's sessions between closures.

    Args:
        mic: the calendar.
        days: the number of calendar days without a session, weekends included, from which a gap is a closure.
        month: the cache key of the calendar.

    Raises:
        CalendarEnds: as `calendar_of`.
    """
    sessions = history(mic, month).sessions.values.astype("M8[D]")
    begins = np.diff(sessions).astype(np.int64) > days  # Sessions on the 8th and the 19th: ten days without one.
    after = _places(np.concatenate(([False], begins)))
    before = _places(np.concatenate((begins, [False]))[::-1])[::-1]
    return Closures(sessions, after, before)


def _places(begins: NDArray[np.bool_]) -> Ints:
    """Count from each beginning on, from 1; 0 before the first."""
    positions = np.arange(len(begins))
    last = np.maximum.accumulate(np.where(begins, positions, -1))
    return np.where(last < 0, 0, positions - last + 1).astype(np.int64)


def _utc(times: Any) -> NDArray[np.datetime64]:
    return np.asarray(times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("M8[us]"))


def _local_dates(moments: NDArray[np.datetime64], zone: Any) -> NDArray[np.datetime64]:
    local = load("pandas").DatetimeIndex(moments).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    return np.asarray(local.to_numpy().astype("M8[D]"))

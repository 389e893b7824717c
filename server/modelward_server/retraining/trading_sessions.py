"""Opening and closing times of trading sessions, with early closes and late openings, at which triggers fire."""

from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any

from modelward.errors import CalendarEnds
from modelward.retraining import AtSession, SessionChoice
from modelward_server.exchange_sessions import UPDATE, bounds, calendar_of, closures, this_month

SESSION_PHRASES = {
    SessionChoice.EVERY: "each session",
    SessionChoice.FIRST_OF_WEEK: "the first session of the week",
    SessionChoice.FIRST_OF_MONTH: "the first session of the month",
    SessionChoice.LAST_OF_WEEK: "the last session of the week",
    SessionChoice.LAST_OF_MONTH: "the last session of the month",
}
OF_WEEK = {SessionChoice.FIRST_OF_WEEK, SessionChoice.LAST_OF_WEEK}
OF_MONTH = {SessionChoice.FIRST_OF_MONTH, SessionChoice.LAST_OF_MONTH}
LASTS = {SessionChoice.LAST_OF_WEEK, SessionChoice.LAST_OF_MONTH}
ORDINALS = {1: "first", 2: "second", 3: "third"}
ENDINGS = {1: "st", 2: "nd", 3: "rd"}


def session_phrase(trigger: AtSession) -> str:
    """Describe the sessions of a trigger, such as `the third session after a closure of 5 days or more`."""
    if not trigger.closure_days:
        return SESSION_PHRASES[trigger.sessions]
    place, side = abs(trigger.closure_session), "after" if trigger.closure_session > 0 else "before"
    if side == "before" and place == 1:
        ordinal = "last session"
    else:
        ordinal = f"{_ordinal(place)} session{' from the last' if side == 'before' else ''}"
    days = "a day" if trigger.closure_days == 1 else f"{trigger.closure_days} days"
    return f"the {ordinal} {side} a closure of {days} or more"


def _ordinal(place: int) -> str:
    ending = "th" if 10 < place % 100 < 14 else ENDINGS.get(place % 10, "th")
    return ORDINALS.get(place, f"{place}{ending}")


def session_times(trigger: AtSession, after: datetime) -> Iterator[datetime]:
    """Yield the instants in UTC, all later than `after`, at which a trigger fires.

    Raises:
        CalendarEnds: `after` is before the calendar's first session, or its last session has been yielded.
    """
    if after < bounds(trigger.calendar, this_month())[0]:
        raise calendar_ends(trigger)
    closure = (trigger.closure_days, trigger.closure_session)
    moments = _moments(trigger.calendar, trigger.sessions, closure, trigger.after_open is not None, this_month())
    yield from (at + trigger.offset for at in moments[bisect_right(moments, after - trigger.offset) :])
    raise calendar_ends(trigger)


def last_known(trigger: AtSession) -> datetime | None:
    """Return the end of the calendar's last session, until which its firings are known; None without a calendar."""
    with suppress(CalendarEnds):
        return bounds(trigger.calendar, this_month())[1]
    return None


def zone_of(trigger: AtSession) -> Any:
    """Return the exchange's time zone."""
    return calendar_of(trigger.calendar, this_month()).tz


def calendar_ends(trigger: AtSession) -> CalendarEnds:
    """Return the error that states the range of a trigger's calendar."""
    first, last = (f"{bound:%Y-%m-%d}" for bound in bounds(trigger.calendar, this_month()))
    fix = f"request fewer firings, or {UPDATE}"
    message = f"the calendar {trigger.calendar} has sessions from {first} to {last} only; {fix}"
    return CalendarEnds(message, calendar=trigger.calendar, first_session=first, last_session=last)


@lru_cache(maxsize=512)
def _moments(
    mic: str, sessions: SessionChoice, closure: tuple[int, int], at_open: bool, month: date
) -> Sequence[datetime]:
    """Return the opening or closing times of the chosen sessions, in order.

    Args:
        closure: the number of days of a closure, 0 for none, and the place of the session after or before it.
    """
    calendar = calendar_of(mic, month)
    times = [at.astimezone(UTC) for at in (calendar.opens if at_open else calendar.closes).dt.to_pydatetime()]
    days, place = closure
    if days:
        known = closures(mic, days, month)
        chosen = set(known.days[known.between(place, place)].tolist())
        return [at for session, at in zip(calendar.sessions, times, strict=True) if session.date() in chosen]
    return _of_periods([session.date() for session in calendar.sessions], times, sessions)


def _of_periods(days: Sequence[date], times: Sequence[datetime], sessions: SessionChoice) -> Sequence[datetime]:
    """Return the time of the first or last session of each period, as far as the calendar shows which one it is."""
    groups = groupby(zip(days, times, strict=True), key=lambda item: _period(item[0], sessions))
    found = [list(group)[-1 if sessions in LASTS else 0][1] for _, group in groups]
    # The calendar may begin or end in the middle of a week or a month.
    return found[:-1] if sessions in LASTS else found[1:]


def _period(day: date, sessions: SessionChoice) -> Hashable:
    """Return the period of which a session may be the first or last."""
    if sessions in OF_WEEK:
        return day - timedelta(days=day.weekday())
    return (day.year, day.month) if sessions in OF_MONTH else day

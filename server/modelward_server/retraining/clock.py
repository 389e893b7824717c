"""Firing times of clock triggers: durations, cron expressions and trading sessions, in their time zones."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from modelward.errors import FieldViolation, InvalidField
from modelward.retraining import AtSession, ByClock, Cron, Every, Trigger
from modelward.shared.figures import duration
from modelward_server.retraining.trading_sessions import session_phrase, session_times, zone_of

FIRST_DAY = datetime(1, 1, 2, tzinfo=UTC)
"""The first day that has a local time in every zone."""


def firing_times(trigger: Trigger, after: datetime) -> Iterator[datetime]:
    """Yield the instants in UTC, all later than `after`, at which a trigger fires.

    A duration fires repeatedly, as if each firing were followed by a training immediately. A local time that is skipped
    by a clock change fires right after the change; one that occurs twice fires the first time; a cron expression with a
    star for its hours continues through the change as if there were none. A trigger that is not a clock trigger never
    fires.

    Raises:
        CalendarEnds: an exchange's calendar has no more sessions.
    """
    if isinstance(trigger, Every):
        return _spans(trigger.span, after)
    if isinstance(trigger, AtSession):
        return session_times(trigger, after)
    return _cron_times(trigger, after) if isinstance(trigger, Cron) else iter(())


def first_firing(trigger: Trigger, after: datetime) -> datetime | None:
    """Return the first instant after `after` at which a trigger fires, or None if it never does."""
    return next(firing_times(trigger, after), None)


def grid_start(trigger: ByClock, trained: datetime, after: datetime) -> datetime:
    """Return the start from which to compute the firings after `after`: durations count from the last training."""
    if not isinstance(trigger, Every):
        return after
    return trained + max((after - trained) // trigger.span, 0) * trigger.span


def describe(trigger: ByClock) -> str:
    """Describe a trigger, for example `At 17:30 on Friday, America/New_York`."""
    if isinstance(trigger, Every):
        return f"{duration(trigger.span)} after the last training"
    if isinstance(trigger, AtSession):
        moment = "close" if trigger.after_open is None else "opening"
        sessions = session_phrase(trigger)
        return f"{duration(trigger.offset)} after the {moment} of {sessions}, {trigger.calendar}"
    return f"{CronSim(trigger.expression, datetime.now(UTC)).explain()}, {trigger.time_zone}"


def format_local(trigger: ByClock, at: datetime) -> str:
    """Format a firing, with its local time if the trigger has a time zone."""
    if isinstance(trigger, Every):
        return describe(trigger)
    zone = ZoneInfo(trigger.time_zone) if isinstance(trigger, Cron) else zone_of(trigger)
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M} {zone}"


def check_zone(name: str, field: str) -> None:
    """Validate the name of a time zone.

    Raises:
        InvalidField: it is not an IANA time zone; the error names the field.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # Unknown; not a name at all; the name of a folder of zones.
        fix = f"{name!r} is not an IANA time zone; name one such as 'America/New_York' or 'UTC'"
        raise InvalidField(FieldViolation(field, fix)) from None


def check_cron(cron: Cron, field: str) -> None:
    """Validate a cron expression and its time zone.

    Args:
        cron: the trigger.
        field: its path in the request, such as `triggers[0].periodic.cron`.

    Raises:
        InvalidField: the expression or the time zone is invalid; the error names it.
    """
    check_zone(cron.time_zone, f"{field}.time_zone")
    fix = "must have minute, hour, day of the month, month and day of the week, such as '30 17 * * FRI'"
    try:
        if len(cron.expression.split()) != 5:
            raise CronSimError("it does not have five fields")
        CronSim(cron.expression, datetime.now(UTC))
    except CronSimError as error:
        raise InvalidField(FieldViolation(f"{field}.expression", f"{fix}: {error}")) from None
    if first_firing(cron, datetime.now(UTC)) is None:
        raise InvalidField(FieldViolation(f"{field}.expression", "describes a time that never occurs"))


def _spans(duration: timedelta, after: datetime) -> Iterator[datetime]:
    at = after.astimezone(UTC)
    while at <= datetime.max.replace(tzinfo=UTC) - duration:
        at += duration
        yield at


def _cron_times(cron: Cron, after: datetime) -> Iterator[datetime]:
    # If started in the second of two equal hours, cronsim yields times of the first one, which are past and dropped.
    with suppress(OverflowError):  # Nothing fires after the year 9999.
        local = max(after, FIRST_DAY).astimezone(ZoneInfo(cron.time_zone))
        for time in CronSim(_by_the_wall_clock(cron.expression), local):
            if (at := time.astimezone(UTC)) > after:
                yield at


def _by_the_wall_clock(expression: str) -> str:
    """Rewrite an expression with fixed hours so that each local time fires once, as docs/retraining.md describes.

    cronsim, like Debian's cron, treats a star in the minutes as a rule that continues through a clock change: without
    this rewrite, the half hours of `*/30 2 * * *` would fire twice in a repeated hour, and never in a skipped one.
    """
    minutes, hours, *others = expression.split()
    if minutes.startswith("*") and not hours.startswith("*"):
        minutes = f"0-59{minutes[1:]}"
    return " ".join([minutes, hours, *others])

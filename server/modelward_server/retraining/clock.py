"""When a trigger fires by the clock: spans, cron expressions and exchanges' sessions, in the zone that they name."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from modelward.errors import FieldViolation, InvalidField
from modelward.retraining import AtSession, ByClock, Cron, Every, Trigger
from modelward_server.retraining.trading_sessions import IN_WORDS, session_times, zone_of

FIRST_DAY = datetime(1, 1, 2, tzinfo=UTC)
"""The first day that has a local time in every zone."""


def firings(trigger: Trigger, after: datetime) -> Iterator[datetime]:
    """Yield the instants in UTC, all behind `after`, at which a trigger fires.

    A span fires again and again as if each firing were followed by a training at once. A local time that a clock
    change skips fires right after the change; one that comes twice fires the first time; a cron expression with a star
    for its hours goes on through the change as if there were none. A trigger that does not go by the clock fires never.

    Raises:
        CalendarEnds: when an exchange's calendar has no more sessions.
    """
    if isinstance(trigger, Every):
        return _spans(trigger.span, after)
    if isinstance(trigger, AtSession):
        return session_times(trigger, after)
    return _cron_times(trigger, after) if isinstance(trigger, Cron) else iter(())


def first_firing(trigger: Trigger, after: datetime) -> datetime | None:
    """Return the first instant behind `after` at which a trigger fires, or None when it never does."""
    return next(firings(trigger, after), None)


def on_grid(trigger: ByClock, trained: datetime, after: datetime) -> datetime:
    """Return from where to ask for the firings behind `after`: a span's are counted from the last training."""
    if not isinstance(trigger, Every):
        return after
    return trained + max((after - trained) // trigger.span, 0) * trigger.span


def describe(trigger: ByClock) -> str:
    """Put a trigger into words, as `At 17:30 on Friday, America/New_York`."""
    if isinstance(trigger, Every):
        return f"{spell(trigger.span)} after the last training"
    if isinstance(trigger, AtSession):
        moment = "close" if trigger.after_open is None else "opening"
        return f"{spell(trigger.offset)} after the {moment} of {IN_WORDS[trigger.sessions]}, {trigger.calendar}"
    return f"{CronSim(trigger.expression, datetime.now(UTC)).explain()}, {trigger.time_zone}"


def local(trigger: ByClock, at: datetime) -> str:
    """Put a firing into words, with its local time where the trigger has a zone."""
    if isinstance(trigger, Every):
        return describe(trigger)
    zone = ZoneInfo(trigger.time_zone) if isinstance(trigger, Cron) else zone_of(trigger)
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M} {zone}"


def spell(span: timedelta) -> str:
    """Put a span into words, as `7 days` or `1 day, 6:00:00`."""
    return str(span).removesuffix(", 0:00:00")


def check_zone(name: str, field: str) -> None:
    """Refuse the name of no time zone.

    Raises:
        InvalidField: naming the field.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # Unknown; not a name at all; the name of a folder of zones.
        fix = f"{name!r} is no IANA time zone; name one as 'America/New_York' or 'UTC'"
        raise InvalidField(FieldViolation(field, fix)) from None


def check_cron(cron: Cron, field: str) -> None:
    """Refuse an expression or a zone that means nothing.

    Args:
        field: where the rule stands in the request, as `triggers[0].periodic.cron`.

    Raises:
        InvalidField: naming the expression or the zone.
    """
    check_zone(cron.time_zone, f"{field}.time_zone")
    fix = "must have minute, hour, day of the month, month and day of the week, as '30 17 * * FRI'"
    try:
        if len(cron.expression.split()) != 5:
            raise CronSimError("it has another number of fields")
        CronSim(cron.expression, datetime.now(UTC))
    except CronSimError as error:
        raise InvalidField(FieldViolation(f"{field}.expression", f"{fix}: {error}")) from None
    if first_firing(cron, datetime.now(UTC)) is None:
        raise InvalidField(FieldViolation(f"{field}.expression", "names a time that never comes"))


def _spans(span: timedelta, after: datetime) -> Iterator[datetime]:
    at = after.astimezone(UTC)
    while at <= datetime.max.replace(tzinfo=UTC) - span:
        at += span
        yield at


def _cron_times(cron: Cron, after: datetime) -> Iterator[datetime]:
    # Begun in the second of two like hours, cronsim names times of the first one: they are past, and dropped.
    with suppress(OverflowError):  # Behind the year 9999 nothing fires.
        local = max(after, FIRST_DAY).astimezone(ZoneInfo(cron.time_zone))
        for time in CronSim(_by_the_wall_clock(cron.expression), local):
            if (at := time.astimezone(UTC)) > after:
                yield at


def _by_the_wall_clock(expression: str) -> str:
    """Write an expression that names its hours so that each local time fires once, as docs/retraining.md says.

    cronsim takes a star in the minutes, as Debian's cron does, for a rule that goes on through a clock change: without
    it the half hours of `*/30 2 * * *` come twice in the hour that repeats, and not at all in one that is skipped.
    """
    minutes, hours, *others = expression.split()
    if minutes.startswith("*") and not hours.startswith("*"):
        minutes = f"0-59{minutes[1:]}"
    return " ".join([minutes, hours, *others])

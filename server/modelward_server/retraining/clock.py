"""When a trigger fires by the clock: spans and cron expressions, in the zone that they name."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from modelward.errors import FieldViolation, InvalidField
from modelward.retraining import Cron, Every, Firing, Trigger


def firings(trigger: Trigger, after: datetime) -> Iterator[datetime]:
    """Yield the instants in UTC, all behind `after`, at which a trigger fires.

    A span fires again and again as if each firing were followed by a training at once. A local time that a clock
    change skips fires right after the change; one that comes twice fires the first time. A trigger that does not
    go by the clock fires never.
    """
    if isinstance(trigger, Every):
        return _spans(trigger.span, after)
    return _cron_times(trigger, after) if isinstance(trigger, Cron) else iter(())


def first_firing(trigger: Trigger, after: datetime) -> datetime | None:
    """Return the first instant behind `after` at which a trigger fires, or None when it never does."""
    return next(firings(trigger, after), None)


def preview(triggers: tuple[Trigger, ...], trained: datetime, after: datetime, count: int) -> tuple[Firing, ...]:
    """Return the first `count` firings of all triggers behind `after`, counted from the last training."""
    lines = (_described(number, trigger, trained, after) for number, trigger in enumerate(triggers))
    return tuple(islice(merge(*lines, key=lambda firing: firing.at), count))


def describe(trigger: Cron | Every) -> str:
    """Put a trigger into words, as `At 17:30 on Friday, America/New_York`."""
    if isinstance(trigger, Every):
        return f"{spell(trigger.span)} after the last training"
    return f"{CronSim(trigger.expression, datetime.now(UTC)).explain()}, {trigger.time_zone}"


def spell(span: timedelta) -> str:
    """Put a span into words, as `7 days` or `1 day, 6:00:00`."""
    return str(span).removesuffix(", 0:00:00")


def check_cron(cron: Cron, field: str) -> None:
    """Refuse an expression or a zone that means nothing.

    Args:
        field: where the rule stands in the request, as `triggers[0].periodic.cron`.

    Raises:
        InvalidField: naming the expression or the zone.
    """
    try:
        ZoneInfo(cron.time_zone)
    except (KeyError, ValueError, OSError):  # Unknown; not a name at all; the name of a folder of zones.
        fix = f"{cron.time_zone!r} is no IANA time zone; name one as 'America/New_York' or 'UTC'"
        raise InvalidField(FieldViolation(f"{field}.time_zone", fix)) from None
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
    local = after.astimezone(ZoneInfo(cron.time_zone))
    # Begun in the second of two like hours, cronsim names times of the first one: they are past, and dropped.
    return (at for time in CronSim(cron.expression, local) if (at := time.astimezone(UTC)) > after)


def _described(number: int, trigger: Trigger, trained: datetime, after: datetime) -> Iterator[Firing]:
    if isinstance(trigger, Every):
        missed = max((after - trained) // trigger.span, 0)
        times = _spans(trigger.span, trained + missed * trigger.span)
    else:
        times = firings(trigger, max(trained, after))
    return (Firing(at, number, _summary(trigger, at)) for at in times)


def _summary(trigger: Trigger, at: datetime) -> str:
    if isinstance(trigger, Cron):
        return f"{at.astimezone(ZoneInfo(trigger.time_zone)):%Y-%m-%d %H:%M} {trigger.time_zone}"
    assert isinstance(trigger, Every)
    return describe(trigger)

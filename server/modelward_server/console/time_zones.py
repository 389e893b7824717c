"""The time zone in which pages show times beside UTC: the one that was chosen, or that of the model's exchange."""

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from starlette.requests import Request
from starlette.responses import Response

from modelward import AsyncClient
from modelward.errors import FieldViolation, InvalidField, ModelNotFound
from modelward.retraining import AtSession, Schedule
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.libraries import load

COOKIE = "modelward_time_zone"
COOKIE_SECONDS = 365 * 24 * 3600
NAME_CHARACTERS = 64
UTC_ONLY = "UTC"
"""The choice of no other zone."""
_zone: ContextVar[ZoneInfo | None] = ContextVar("zone", default=None)


async def zone_of(client: AsyncClient, request: Request) -> ZoneInfo | None:
    """Return the zone of a page: that of the query or the cookie, otherwise that of the exchange of the page's model.

    Raises:
        InvalidField: `tz` in the query is no time zone and no exchange.
    """
    name = request.query_params.get("tz", "").strip()
    if name:
        return await _named(name)
    if key := remembered(request):
        return _other_than_utc(key)
    model = request.path_params.get("model", "")
    return await _of_model(client, model) if model else None


def remembered(request: Request) -> str:
    """Return the name of the zone that was chosen before; empty for none."""
    key = request.cookies.get(COOKIE, "")
    return key if key in _names() else ""


async def _named(name: str) -> ZoneInfo | None:
    key = name if name in _names() else await asyncio.to_thread(exchange_zone, name[:NAME_CHARACTERS])
    if not key:
        fix = f"{name[:NAME_CHARACTERS]!r} is no time zone such as Europe/London, and no exchange such as XLON"
        raise InvalidField(FieldViolation("tz", fix))
    return _other_than_utc(key)


def _other_than_utc(key: str) -> ZoneInfo | None:
    return None if key == UTC_ONLY else ZoneInfo(key)


async def _of_model(client: AsyncClient, model: str) -> ZoneInfo | None:
    try:
        schedules = await first(client.list_schedules(model), ROWS)
    except (ModelNotFound, InvalidField):
        return None  # The page says so.
    key = await asyncio.to_thread(_key_of, schedules)
    return _other_than_utc(key) if key in _names() else None


def _key_of(schedules: tuple[Schedule, ...]) -> str:
    """Return the zone of the exchange that schedules name; otherwise that in which they count days."""
    mics = (one.calendar for schedule in schedules for one in schedule.triggers if isinstance(one, AtSession))
    zones = (schedule.policy.time_zone for schedule in schedules if schedule.policy.time_zone != UTC_ONLY)
    return next((key for mic in mics if (key := exchange_zone(mic))), next(zones, ""))


@lru_cache(maxsize=128)
def exchange_zone(mic: str) -> str:
    """Return the time zone of an exchange by its MIC; empty for one that is not known here."""
    try:
        calendars = load("exchange_calendars")
    except ImportError:
        return ""
    if mic not in calendars.get_calendar_names(include_aliases=False):
        return ""
    recent = datetime.now(UTC).date() - timedelta(days=30)
    return str(calendars.get_calendar(mic, start=recent).tz)


def remember(request: Request, answer: Response) -> None:
    """Keep the zone that was chosen in the query for other pages."""
    if request.query_params.get("tz", "").strip():
        zone: ZoneInfo | None = request.state.zone
        key = zone.key if zone else UTC_ONLY
        answer.set_cookie(COOKIE, key, max_age=COOKIE_SECONDS, httponly=True, samesite="lax")


def show_in(zone: ZoneInfo | None) -> None:
    """Set the zone of the page that is filled next."""
    _zone.set(zone)


def local(at: datetime) -> str:
    """Return the time of day in the page's zone, with the date where that is another than in UTC; empty for UTC."""
    zone = _zone.get()
    if zone is None:
        return ""
    there = at.astimezone(zone)
    day = "" if there.date() == at.astimezone(UTC).date() else f"{there:%m-%d} "
    return f"{day}{there:%H:%M %Z}"


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())

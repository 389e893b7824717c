"""The time zone in which a command shows times, and reads those that are given without one."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import click

SELECTED = "modelward.time_zone"
"""Where the context has the zone."""
IN_UTC = " (UTC)"
"""How the heading of a time ends."""


@dataclass(frozen=True)
class Zone:
    """A time zone.

    Attributes:
        name: its name.
        info: its rules; None for the zone of this machine.
    """

    name: str
    info: tzinfo | None


DEFAULT = Zone("UTC", UTC)


def select_zone(context: click.Context, parameter: click.Parameter, name: str) -> None:
    """Select the zone of the current command: the callback of an option."""
    if name.upper() == "UTC":
        return
    try:
        context.meta[SELECTED] = Zone(name, None if name == "local" else ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        if not context.resilient_parsing:
            raise click.BadParameter(f"{name!r} is no time zone, such as Europe/Berlin, or local") from None


def _zone() -> Zone:
    context = click.get_current_context(silent=True)
    zone: Zone = context.meta.get(SELECTED, DEFAULT) if context else DEFAULT
    return zone


def time_text(moment: datetime) -> str:
    """Format a time; in another zone than UTC with its offset, so that no hour is ambiguous."""
    zone = _zone()
    text = moment.astimezone(zone.info).isoformat(" ", "seconds")
    return text.removesuffix("+00:00") if zone is DEFAULT else text


def heading_text(heading: str) -> str:
    """Return a heading that names the zone of its times."""
    zone = _zone()
    return f"{heading.removesuffix(IN_UTC)} ({zone.name})" if heading.endswith(IN_UTC) else heading


def with_zone(moment: datetime) -> datetime:
    """Return a time that was given without a zone with the zone that it is meant in."""
    zone = _zone()
    return moment.replace(tzinfo=zone.info) if zone.info else moment.astimezone()

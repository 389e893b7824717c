"""Parse timestamps and durations in their text form."""

import re
from datetime import UTC, datetime, timedelta

UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
DURATION = re.compile(r"(\d{1,6})([smhd])", re.ASCII)


def parse_instant(text: str) -> datetime:
    """Parse an ISO 8601 time; without a zone it is in UTC.

    Raises:
        ValueError: the text is not an ISO 8601 time.
    """
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """Parse a duration, such as 90m, 24h or 7d.

    Raises:
        ValueError: the text is not a duration.
    """
    match = DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a duration")
    return int(match[1]) * UNITS[match[2]]

"""How the drawings write figures, times and names."""

import math
from datetime import UTC, datetime

MINUS = "\N{MINUS SIGN}"


def figure(value: float) -> str:
    """Write a statistic: three decimals while it is small, three digits when it is not."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else _signed("∞" if value > 0 else "-∞")
    return _signed(f"{value:.3f}" if abs(value) < 10 else tick(value))


def tick(value: float) -> str:
    """Write a place on an axis in three digits."""
    return _signed(f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}")


def percent(share: float) -> str:
    """Write a share; what is nearly all or nearly nothing is not rounded to it."""
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def probability(p_value: float) -> str:
    """Write a p-value."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def count(number: float) -> str:
    """Write a number of rows."""
    return f"{number:,.0f}"


def instant(at: datetime) -> str:
    """Write a time, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def short(text: str, length: int = 60) -> str:
    """Cut a text that is too long for its place."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def listed(names: tuple[str, ...], shown: int = 3) -> str:
    """Name the first few."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(short(name, 40) for name in names[:shown]) + more


def _signed(text: str) -> str:
    return text.replace("-", MINUS)

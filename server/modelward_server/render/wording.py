"""How the drawings write figures, times and names."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

MINUS = "\N{MINUS SIGN}"


def figure(value: float) -> str:
    """Write a statistic: three decimals while it is small, three digits when it is not."""
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else _signed("∞" if value > 0 else "-∞")
    return _signed(f"{value:.3f}" if abs(value) < 10 else tick(value))


def measure(value: float) -> str:
    """Write a metric in its own unit, whatever its size: four digits."""
    return _signed(f"{value:.4g}") if math.isfinite(value) else figure(value)


def level(share: float) -> str:
    """Write a confidence level."""
    return f"{100 * share:.4g} %"


def tick(value: float) -> str:
    """Write a single place on an axis in three digits."""
    return ticks((value,))[0]


def ticks(values: Sequence[float]) -> list[str]:
    """Write places on an axis with as many decimals as three digits of the greatest need."""
    greatest = max(map(abs, values))
    if greatest and not 1e-3 <= greatest < 1e6:
        return [_signed(f"{value:.3g}") for value in values]
    decimals = max(0, 2 - math.floor(math.log10(greatest))) if greatest else 0
    return [_signed(f"{value:,.{decimals}f}") for value in values]


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

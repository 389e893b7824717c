"""Layout of values over time, such as the metrics of live performance."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Course:
    """Values side by side; positions are percentages of the width from the left and of the height from the top."""

    line: str
    """The path through them, with a gap where one is missing."""
    places: Sequence[tuple[float, float] | None]
    """Where each is; None where it is missing."""


def course(values: Sequence[float | None], bottom: float = 0.0, top: float = 1.0) -> Course:
    """Lay values out side by side.

    Args:
        values: the oldest first; None where one is missing.
        bottom: the value at the bottom of the drawing.
        top: that at its top.
    """
    places: list[tuple[float, float] | None] = [
        None
        if value is None
        else (round(100 * (i + 0.5) / len(values), 2), round(100 * (top - value) / (top - bottom), 2))
        for i, value in enumerate(values)
    ]
    pieces, pen = [], "M"
    for place in places:
        if place is not None:
            pieces.append(f"{pen}{place[0]} {place[1]}")
        pen = "M" if place is None else "L"
    return Course("".join(pieces), places)

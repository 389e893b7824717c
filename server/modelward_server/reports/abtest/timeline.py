"""Layout of the timeline of a test: the difference of each challenger to the control over the looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelward.abtest import AbLook, AbTestResult
from modelward_server.reports.intervals import Tick, axis
from modelward_server.reports.wording import change, instant, measure, short, ticks

LOOKS_SHOWN = 0.1
"""The axis covers the intervals after this share of the looks: the first ones are so wide that all would look flat."""
LABELS = 4


@dataclass(frozen=True)
class Course:
    """The timeline of one challenger."""

    variant: str
    band: str
    """The path of the area that the interval covers, in a box 100 wide and 100 high."""
    line: str
    """The path of the difference."""
    zero: float
    """The position of zero difference, in per cent from the top."""
    levels: tuple[Tick, ...]
    """Labels of the axis, in per cent from the top."""
    times: tuple[Tick, ...]
    """Labels of the looks, in per cent from the left."""
    alt: str


def courses(result: AbTestResult) -> list[Course]:
    """Lay out the timeline of every challenger with at least two looks."""
    found = (looks_of(result, one.variant) for one in result.variants)
    return [_lay_out(looks) for looks in found if len(looks) > 1]


def looks_of(result: AbTestResult, variant: str) -> list[AbLook]:
    return [look for look in result.looks if look.variant == variant]


def axis_range(looks: Sequence[AbLook]) -> tuple[float, float, list[float]]:
    """Return the ends of the axis of differences, and the tick values between them."""
    shown = looks[int(LOOKS_SHOWN * len(looks)) :]
    return axis([end for look in shown for end in (look.low, look.difference, look.high)], zero=True)


def _lay_out(looks: Sequence[AbLook]) -> Course:
    bottom, top, places = axis_range(looks)

    def down(value: float) -> float:
        return 100 * (top - min(max(value, bottom), top)) / (top - bottom)

    across = [100 * number / (len(looks) - 1) for number in range(len(looks))]
    upper = [f"{x:.2f} {down(look.high):.2f}" for x, look in zip(across, looks, strict=True)]
    lower = [f"{x:.2f} {down(look.low):.2f}" for x, look in zip(across, looks, strict=True)]
    middle = [f"{x:.2f} {down(look.difference):.2f}" for x, look in zip(across, looks, strict=True)]
    last = looks[-1]
    return Course(
        variant=last.variant,
        band="M" + "L".join([*upper, *reversed(lower)]) + "Z",
        line="M" + "L".join(middle),
        zero=down(0.0),
        levels=tuple(Tick(down(place), text) for place, text in zip(places, ticks(places), strict=True)),
        times=_times([look.at for look in looks]),
        alt=f"Difference of {short(last.variant)} from the control over {len(looks)} looks; at the last look "
        f"{change(last.difference)}, from {measure(last.low)} to {measure(last.high)}.",
    )


def _times(instants: Sequence[datetime]) -> tuple[Tick, ...]:
    last = len(instants) - 1
    chosen = sorted({round(last * i / (LABELS - 1)) for i in range(LABELS)})
    return tuple(Tick(100 * number / last, instant(instants[number])[5:]) for number in chosen)

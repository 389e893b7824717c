"""Layout of live metrics over periods, beside what was recorded at registration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelward.drift import Performance
from modelward_server.reports.courses import Course, course
from modelward_server.reports.intervals import axis
from modelward_server.reports.wording import ticks


@dataclass(frozen=True)
class MetricCourse:
    """One metric over the periods."""

    name: str
    values: Sequence[float | None]
    """Its value in each period, the oldest first; None where a period has none."""
    estimated: Sequence[bool]
    """Whether each is an estimate without labels."""
    reference: float | None
    """What was recorded with the version at registration; None where it was not."""

    @property
    def latest(self) -> float | None:
        """The newest value that labels confirm; None if there is none."""
        measured = (value for value, guess in zip(self.values, self.estimated, strict=True) if not guess)
        return next((value for value in reversed(list(measured)) if value is not None), None)

    @property
    def drawing(self) -> Course:
        """Its values as a drawing."""
        bottom, top, _ = self._axis()
        return course(self.values, bottom, top)

    @property
    def level(self) -> float | None:
        """The height of the reference in the drawing, in per cent from the top."""
        bottom, top, _ = self._axis()
        return None if self.reference is None else 100 * (top - self.reference) / (top - bottom)

    @property
    def levels(self) -> list[tuple[float, str]]:
        """Heights and texts of the lowest and the highest mark of the axis."""
        bottom, top, places = self._axis()
        marks = list(zip(places, ticks(places), strict=True))
        return [(100 * (top - value) / (top - bottom), text) for value, text in (marks[0], marks[-1])]

    def _axis(self) -> tuple[float, float, list[float]]:
        return axis([value for value in [*self.values, self.reference] if value is not None], zero=False)


def metric_courses(recorded: Mapping[str, float], periods: Sequence[Performance]) -> list[MetricCourse]:
    """Return each metric that a period has.

    Args:
        recorded: the metrics of the version at registration.
        periods: the oldest first.
    """
    estimated = [period.estimated for period in periods]
    return [
        MetricCourse(name, [period.metrics.get(name) for period in periods], estimated, recorded.get(name))
        for name in sorted({name for period in periods for name in period.metrics})
    ]

"""Live performance of a version by period, its alarms, and beside it what was recorded at registration."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request

from modelward import AsyncClient
from modelward.drift import Performance
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion
from modelward_server.console.drawing import Course, course
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.console.pages.parameters import shown_version
from modelward_server.reports.intervals import axis
from modelward_server.reports.wording import ticks

TEMPLATE = "performance"
PERIODS = {
    "1h": ("an hour", timedelta(hours=1)),
    "1d": ("a day", timedelta(days=1)),
    "7d": ("a week", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
"""The lengths of a period to choose from, with their names."""


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


@dataclass(frozen=True)
class View:
    """What the page shows."""

    model: str
    version: ModelVersion | None
    """None where the model has no version."""
    period: str
    """The length of a period."""
    periods: Sequence[Performance]
    """The oldest first."""
    more: bool
    """Whether there may be older ones, which the page does not show."""
    metrics: Sequence[MetricCourse]

    @property
    def choices(self) -> dict[str, str]:
        """The lengths of a period to choose from, with their names."""
        return {length: text for length, (text, _) in PERIODS.items()}


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the performance of a version; `period` in the query is one of `PERIODS`.

    Raises:
        ModelNotFound, VersionNotFound: it does not exist.
        InvalidField: a parameter cannot be read.
    """
    period = request.query_params.get("period", "").strip() or "1d"
    if period not in PERIODS:
        raise InvalidField(FieldViolation("period", f"{period[:40]!r} is not one of {', '.join(PERIODS)}"))
    model = await client.get_model(request.path_params["model"])
    version = await shown_version(client, model, request)
    newest = await first(client.list_performance(version, period=PERIODS[period][1]), ROWS) if version else ()
    periods = list(reversed(newest))
    return View(model.name, version, period, periods, len(periods) == ROWS, _metrics(version, periods))


def _metrics(version: ModelVersion | None, periods: Sequence[Performance]) -> list[MetricCourse]:
    recorded, estimated = version.metrics if version else {}, [period.estimated for period in periods]
    return [
        MetricCourse(name, [period.metrics.get(name) for period in periods], estimated, recorded.get(name))
        for name in sorted({name for period in periods for name in period.metrics})
    ]

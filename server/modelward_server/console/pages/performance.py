"""Live performance of a version by period, its alarms, and beside it what was recorded at registration."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request

from modelward import AsyncClient
from modelward.drift import Performance
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.console.pages.parameters import shown_version
from modelward_server.reports.performance.courses import MetricCourse, metric_courses

TEMPLATE = "performance"
PERIODS = {
    "1h": ("an hour", timedelta(hours=1)),
    "1d": ("a day", timedelta(days=1)),
    "7d": ("a week", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
"""The lengths of a period to choose from, with their names."""


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
    return View(
        model.name,
        version,
        period,
        periods,
        len(periods) == ROWS,
        metric_courses(version.metrics if version else {}, periods),
    )

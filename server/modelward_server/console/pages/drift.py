"""Drift of a version over its newest reports, feature by feature, and what other thresholds would have found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request

from modelward import AsyncClient
from modelward.drift import DriftReport
from modelward.lifecycle import Model, ModelVersion
from modelward_server.console.drawing import THRESHOLD
from modelward_server.console.pages.lists import first
from modelward_server.console.pages.parameters import share, shown_version
from modelward_server.console.what_if import Limits, would_alarm
from modelward_server.reports.courses import Course, course

TEMPLATE = "drift"
REPORTS = 20
"""The most reports of the page."""
FEATURES = 50
"""The most features of the page."""
DEFAULT_SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Row:
    """One report."""

    report_id: str
    label: str
    created_at: datetime
    score: float
    confidence: float
    drift_detected: bool
    drivers: Sequence[str]
    would_alarm: bool | None
    """Whether it would have found drift at the limits that were asked for; None where none were."""

    @property
    def title(self) -> str:
        """What the data are; the time of the report where that was not given."""
        return self.label or f"{self.created_at:%Y-%m-%d %H:%M}"


@dataclass(frozen=True)
class FeatureCourse:
    """One feature over the reports."""

    name: str
    scores: Sequence[float | None]
    """Its score in each report; None where a report has no such feature."""
    drifted: Sequence[bool]
    """Whether it drifted in each."""

    @property
    def alarms(self) -> int:
        """In how many reports it drifted."""
        return sum(self.drifted)

    @property
    def latest(self) -> float | None:
        """Its score in the newest report."""
        return self.scores[-1]

    @property
    def drawing(self) -> Course:
        """Its scores as a drawing."""
        return course(self.scores)


@dataclass(frozen=True)
class View:
    """What the page shows."""

    model: str
    version: ModelVersion | None
    """None where the model has no version."""
    reports: Sequence[Row]
    """The oldest first."""
    features: Sequence[FeatureCourse]
    """Those that drifted most often first."""
    more_features: int
    """How many features the page does not show."""
    limits: Limits
    asked: bool
    """Whether other limits were asked for."""

    @property
    def drawing(self) -> Course:
        """The scores of the reports as a drawing."""
        return course([report.score for report in self.reports])

    @property
    def level(self) -> float:
        """The height of the asked score in a drawing, in per cent from the top."""
        return 100 * (1 - self.limits.score)


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the drift of a version; `score` and `confidence` in the query are the limits to try.

    Raises:
        ModelNotFound, VersionNotFound: it does not exist.
        InvalidField: a parameter is not a number of its kind.
    """
    score, confidence = share(request, "score"), share(request, "confidence")
    model = await client.get_model(request.path_params["model"])
    version = await shown_version(client, model, request)
    reports = await _reports(client, version)
    limits = await _limits(client, model, score, confidence)
    asked = score is not None or confidence is not None
    courses = _courses(reports)
    return View(
        model=model.name,
        version=version,
        reports=[_row(report, limits if asked else None) for report in reports],
        features=courses[:FEATURES],
        more_features=max(len(courses) - FEATURES, 0),
        limits=limits,
        asked=asked,
    )


async def _reports(client: AsyncClient, version: ModelVersion | None) -> list[DriftReport]:
    """Return the newest reports of a version, the oldest first."""
    if version is None:
        return []
    newest = await first(client.list_drift_reports(version.model, version=version.version), REPORTS)
    return list(reversed(newest))


async def _limits(client: AsyncClient, model: Model, score: float | None, confidence: float | None) -> Limits:
    """Return the limits that were asked for; those of the model's policy in place of what was not."""
    thresholds = (await client.get_drift_policy(model.name)).thresholds
    significance = DEFAULT_SIGNIFICANCE if thresholds.significance is None else thresholds.significance
    return Limits(
        score=THRESHOLD if score is None else score,
        confidence=1 - significance if confidence is None else confidence,
        ignored=frozenset(name for name, own in thresholds.features.items() if own.ignored),
    )


def _row(report: DriftReport, limits: Limits | None) -> Row:
    return Row(
        report_id=report.report_id,
        label=report.label,
        created_at=report.created_at,
        score=report.score,
        confidence=report.confidence,
        drift_detected=report.drift_detected,
        drivers=report.drivers,
        would_alarm=would_alarm(report, limits) if limits else None,
    )


def _courses(reports: Sequence[DriftReport]) -> list[FeatureCourse]:
    """Return the features over the reports: those that drifted most often first, then by their latest score."""
    by_report = [{feature.name: feature for feature in report.features} for report in reports]
    names = {name for features in by_report for name in features}
    courses = [
        FeatureCourse(
            name=name,
            scores=[features[name].score if name in features else None for features in by_report],
            drifted=[name in features and features[name].drifted for features in by_report],
        )
        for name in names
    ]
    return sorted(courses, key=lambda one: (-one.alarms, -(one.latest or 0.0), one.name))

"""Metrics read from the ledger at each scrape: versions in production, drift, jobs, and the lag of MLflow."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.errors import ModelwardError
from modelward.lifecycle import Stage
from modelward_server.runtime.best_effort import best_effort
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.retraining_tables import JobRow
from modelward_server.storage.tables import VersionRow

OPEN = ("pending", "leased")


class LedgerMetrics(Collector):
    """Collects metrics from the ledger at each scrape.

    Args:
        behind: returns the number of versions whose changes MLflow does not show yet.
    """

    NAMES = (
        "modelward_database_up",
        "modelward_mlflow_versions_behind",
        "modelward_production_version",
        "modelward_drift_score",
        "modelward_jobs_open",
        "modelward_oldest_job_seconds",
    )
    """The names of all its metrics."""

    def __init__(self, ledger: Ledger, behind: Callable[[], int]) -> None:
        self._ledger = ledger
        self._behind = behind

    def describe(self) -> Iterable[Metric]:
        """Return no metrics in advance: the database may be unavailable when the server starts."""
        return ()

    def collect(self) -> Iterable[Metric]:
        from_ledger = best_effort(self._from_ledger)()
        up = GaugeMetricFamily("modelward_database_up", "Whether the database answered this scrape.")
        up.add_metric([], int(bool(from_ledger)))
        return [up, *(from_ledger or ()), *(best_effort(self._lag)() or ())]

    def _from_ledger(self) -> list[Metric]:
        """Return the ledger's metrics; empty while its database is unavailable."""
        try:
            with self._ledger.reading() as session:
                return [_in_production(session), _drift(session), *_jobs(session)]
        except (ModelwardError, SQLAlchemyError):
            return []

    def _lag(self) -> list[Metric]:
        """Return the lag of MLflow; empty while it is unknown."""
        family = GaugeMetricFamily("modelward_mlflow_versions_behind", "Versions that MLflow does not show yet.")
        try:
            family.add_metric([], self._behind())
        except (ModelwardError, SQLAlchemyError):
            return []
        return [family]


def _in_production(session: Session) -> GaugeMetricFamily:
    family = GaugeMetricFamily("modelward_production_version", "The version in production.", labels=["model"])
    rows = select(VersionRow.model, VersionRow.version).where(VersionRow.stage == Stage.PRODUCTION)
    for model, version in session.execute(rows):
        family.add_metric([model], version)
    return family


def _drift(session: Session) -> GaugeMetricFamily:
    """Return the newest drift score of each version in production."""
    family = GaugeMetricFamily("modelward_drift_score", "The newest drift score in production.", labels=["model"])
    newest = func.row_number().over(partition_by=DriftReportRow.model, order_by=DriftReportRow.created_at.desc())
    ranked = (
        select(DriftReportRow.model, DriftReportRow.score, newest.label("place"))
        .join(
            VersionRow,
            (VersionRow.model == DriftReportRow.model) & (VersionRow.version == DriftReportRow.version),
        )
        .where(VersionRow.stage == Stage.PRODUCTION)
        .subquery()
    )
    for model, score in session.execute(select(ranked.c.model, ranked.c.score).where(ranked.c.place == 1)):
        family.add_metric([model], score)
    return family


def _jobs(session: Session) -> list[GaugeMetricFamily]:
    states = GaugeMetricFamily("modelward_jobs_open", "Retraining jobs that have not ended.", labels=["state"])
    counted = {row.state: row.number for row in session.execute(_COUNTED)}
    for state in OPEN:
        states.add_metric([state], counted.get(state, 0))
    age = GaugeMetricFamily("modelward_oldest_job_seconds", "Age of the oldest job that has not ended; 0 without one.")
    oldest = session.scalar(select(func.min(JobRow.created_at)).where(JobRow.state.in_(OPEN)))
    age.add_metric([], (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0)
    return [states, age]


_COUNTED = select(JobRow.state, func.count().label("number")).where(JobRow.state.in_(OPEN)).group_by(JobRow.state)

"""What MLflow shows of a version that is not in the version itself: references, values of metrics, verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from modelward.comparison import Comparison
from modelward.drift import DEFAULT_REFERENCE, Reference
from modelward.lifecycle import VersionRef
from modelward_server.comparison.repository import list_comparisons
from modelward_server.drift.references import all_references
from modelward_server.storage.drift_tables import DriftReportRow, ReferenceRow
from modelward_server.storage.tables import MetricRow, MirrorRequestRow

MAX_COMPARISONS = 20
"""Number of a model's newest comparisons among which the newest one with a version is looked for."""
MAX_REQUESTS = 1000
"""Number of requests that are answered at once."""


@dataclass(frozen=True)
class MetricPoint:
    """A value of a metric."""

    id: int
    key: str
    value: float
    measured_at: datetime
    step: int
    """Its number among the values of its key; a value that was measured earlier has that of the last one until then."""


@dataclass(frozen=True)
class ShownDrift:
    """The newest drift report of a version."""

    report_id: str
    created_at: datetime
    score: float
    drift_detected: bool


@dataclass(frozen=True)
class Details:
    """What the ledger has for a version."""

    example: bytes = b""
    """Rows of its default reference as an Arrow stream; empty if there are none."""
    references: Sequence[Reference] = ()
    drift: ShownDrift | None = None
    comparison: Comparison | None = None
    """The newest comparison with it."""
    points_after: Callable[[int], Sequence[MetricPoint]] = lambda _: ()
    """Returns the values of metrics that were recorded after the one with an id."""


NOTHING = Details()


def read_details(session: Session, ref: VersionRef, points_after: Callable[[int], Sequence[MetricPoint]]) -> Details:
    """Read what is shown of a version.

    Args:
        session: the transaction.
        ref: the version.
        points_after: reads the values of metrics later, when it is known which MLflow has.
    """
    default = session.get(ReferenceRow, (ref.model, ref.version, DEFAULT_REFERENCE))
    example = (default.example if default else None) or b""
    return Details(example, all_references(session, ref), _drift(session, ref), _comparison(session, ref), points_after)


def _drift(session: Session, ref: VersionRef) -> ShownDrift | None:
    table = DriftReportRow
    columns = select(table.report_id, table.created_at, table.score, table.drift_detected)
    of_version = columns.where(table.model == ref.model, table.version == ref.version)
    row = session.execute(of_version.order_by(table.created_at.desc(), table.report_id.desc()).limit(1)).first()
    return None if row is None else ShownDrift(*row)


def _comparison(session: Session, ref: VersionRef) -> Comparison | None:
    newest = list_comparisons(session, ref.model, MAX_COMPARISONS, "").items
    return next((one for one in newest if any(result.version == ref for result in one.results)), None)


def metric_points(session: Session, ref: VersionRef, after: int) -> list[MetricPoint]:
    """Return the values of a version's metrics that were recorded after the one with an id, in that order."""
    table = MetricRow
    of_version = (table.model == ref.model, table.version == ref.version)
    keys = select(table.key).where(*of_version, table.id > after).distinct()
    number = func.row_number().over(partition_by=table.key, order_by=table.id) - 1
    latest = func.max(table.measured_at).over(partition_by=table.key, order_by=table.id)
    numbered = (
        select(table.id, table.key, table.value, table.measured_at, number.label("number"), latest.label("latest"))
        .where(*of_version, table.key.in_(keys))
        .subquery()
    ).c
    of_latest = case((numbered.measured_at == numbered.latest, numbered.number))
    step = func.max(of_latest).over(partition_by=numbered.key, order_by=numbered.id).label("step")
    points = select(numbered.id, numbered.key, numbered.value, numbered.measured_at, step).subquery()
    new = select(points).where(points.c.id > after).order_by(points.c.id)
    return [MetricPoint(*row) for row in session.execute(new)]


def requests_of(session: Session, ref: VersionRef) -> list[int]:
    """Return the requests to show a version again."""
    table = MirrorRequestRow
    of_version = select(table.sequence).where(table.model == ref.model, table.version == ref.version)
    return list(session.scalars(of_version.order_by(table.sequence).limit(MAX_REQUESTS)))

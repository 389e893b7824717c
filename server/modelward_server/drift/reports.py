"""Drift reports: made, kept, read and listed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import uuid4

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.data import Columns
from modelward.drift import DriftReport, DriftThresholds, Reference, ReferenceDistance
from modelward.errors import ReportNotFound
from modelward.lifecycle import Page, VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import Decision, decide
from modelward_server.drift.profile import Profile
from modelward_server.drift.sample import Live, count_live
from modelward_server.lifecycle.repository import model_row, version_row
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.paging import Key, fetch_page

_json = TypeAdapter(DriftReport)


Take = Callable[[Mapping[str, Profile], str], Live]
"""Takes in live data against profiles, by name; errors name the data by the second argument."""


def from_batches(batches: Iterable[Columns]) -> Take:
    """Return what takes in batches that are read here."""
    return lambda profiles, field: count_live(profiles, batches, field)


@dataclass(frozen=True)
class ReportFilter:
    """Conditions on the reports of a model; those that are set must all hold."""

    model: str
    version: int = 0
    drift_detected_only: bool = False
    created_after: datetime | None = None


def make_report(
    reference: Reference,
    profile: Profile,
    take: Take,
    field: str,
    thresholds: DriftThresholds,
    label: str,
    others: Mapping[str, Profile] = MappingProxyType({}),
) -> DriftReport:
    """Compare live data with a reference; who asked, and when, is filled in when the report is kept.

    Args:
        take: takes the live data in, as `count_live` does of batches.
        others: profiles of the version's other references with the same features, to say which is the nearest.

    Raises:
        InvalidField: the data do not have the columns of the reference, or no row.
    """
    profiles = {reference.name: profile, **others}
    live = take(profiles, field)
    ignored = [name for name, own in thresholds.features.items() if own.ignored]
    decisions = {name: decide(compare(one, live, name, ignored), thresholds) for name, one in profiles.items()}
    decision = decisions[reference.name]
    return DriftReport(
        report_id=str(uuid4()),
        version=reference.version,
        reference=reference.name,
        label=label,
        created_at=datetime.now(UTC),
        created_by="",
        rows=live.rows,
        reference_rows=reference.rows,
        drift_detected=decision.drift_detected,
        score=decision.score,
        confidence=decision.confidence,
        drivers=decision.drivers,
        summary=decision.summary,
        features=decision.features,
        caveats=decision.caveats,
        references=tuple(sorted(map(_distance, decisions, decisions.values()), key=lambda one: one.distance)),
        joint=decision.joint,
    )


def _distance(name: str, decision: Decision) -> ReferenceDistance:
    distance = sum(feature.ks for feature in decision.features) / len(decision.features)
    return ReferenceDistance(name, decision.drift_detected, decision.score, decision.confidence, distance)


def keep_report(session: Session, report: DriftReport, actor: ActorContext, *, observed: bool = False) -> DriftReport:
    """Keep a report under its id.

    Args:
        observed: whether it is of a window of live data, whose alarms wait for several windows.
    """
    kept = replace(report, created_at=actor.at, created_by=actor.name)
    session.add(
        DriftReportRow(
            report_id=kept.report_id,
            model=kept.version.model,
            version=kept.version.version,
            created_at=kept.created_at,
            drift_detected=kept.drift_detected,
            score=kept.score,
            observed=observed,
            report=_json.dump_python(kept, mode="json"),
        )
    )
    return kept


def get_report(session: Session, report_id: str) -> DriftReport:
    """Return a report.

    Raises:
        ReportNotFound: there is none of that id.
    """
    row = session.get(DriftReportRow, report_id)
    if row is None:
        raise ReportNotFound(f"there is no report {report_id!r}; ListDriftReports shows them", report_id=report_id)
    return _json.validate_python(row.report)


def list_reports(session: Session, wanted: ReportFilter, page_size: int, page_token: str) -> Page[DriftReport]:
    """Return a page of a model's reports, the newest first.

    Raises:
        ModelNotFound, VersionNotFound: what is named does not exist.
    """
    model_row(session, wanted.model)
    if wanted.version:
        version_row(session, VersionRef(wanted.model, wanted.version))
    rows = select(DriftReportRow).where(DriftReportRow.model == wanted.model)
    if wanted.version:
        rows = rows.where(DriftReportRow.version == wanted.version)
    if wanted.drift_detected_only:
        rows = rows.where(DriftReportRow.drift_detected)
    if wanted.created_after is not None:
        rows = rows.where(DriftReportRow.created_at >= wanted.created_after)
    keys = [Key(DriftReportRow.created_at, descending=True), Key(DriftReportRow.report_id, descending=True)]
    page = fetch_page(session, rows, keys, page_size, page_token, wanted)
    return Page(tuple(_json.validate_python(row.report) for row in page.items), page.next_page_token)


@dataclass(frozen=True)
class ReportHead:
    """What a report came to, without its features."""

    report_id: str
    created_at: datetime
    drift_detected: bool
    score: float


def latest_report(session: Session, model: str, version: int) -> ReportHead | None:
    """Return what the newest report of a version came to that somebody asked for; None when there is none."""
    row = DriftReportRow
    heads = select(row.report_id, row.created_at, row.drift_detected, row.score).where(
        row.model == model, row.version == version, row.observed.is_(False)
    )
    found = session.execute(heads.order_by(row.created_at.desc(), row.report_id.desc()).limit(1)).first()
    return None if found is None else ReportHead(*found)

"""Drift reports: create, store, read and list them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import uuid4

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.data import Columns
from modelward.drift import DriftReport, DriftThresholds, Reference, ReferenceDistance, TimeWindow
from modelward.errors import FieldViolation, InvalidField, ReportNotFound
from modelward.lifecycle import Page, VersionRef
from modelward.segments import ClosureSessions, Regime, Segments
from modelward_server.actor_context import ActorContext
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import Decision, decide
from modelward_server.drift.profile import Profile
from modelward_server.drift.row_order import (
    LIVE_ASSUMED,
    NO_KEYS,
    REFERENCE_ASSUMED,
    RowKeys,
    SortedBatches,
    sort_rows,
    window_of,
)
from modelward_server.drift.row_segments import RowSegment, rows_in
from modelward_server.drift.sample import LiveSample, count_live
from modelward_server.drift.segments import ProfileOf, caveats, compare_segments, divide_rows, joined_rows
from modelward_server.lifecycle.repository import model_row, request_mirroring, version_row
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.paging import Key, fetch_page

_json = TypeAdapter(DriftReport)


OF_REFERENCE = "reference.regime"
"""What errors name about live rows that lack what the regime of a reference needs."""
SampleReader = Callable[[Mapping[str, Profile], str], LiveSample]
"""Reads live data into a sample relative to profiles, by name; the second argument names the data in errors."""


def from_batches(
    batches: Iterable[Columns],
    keys: RowKeys = NO_KEYS,
    segments: Segments | None = None,
    regime: Regime | None = None,
) -> SampleReader:
    """Return a reader of batches in this process, which sorts their rows and divides them into segments.

    Args:
        regime: the regime of the reference: of sessions, rows of others are left out.
    """
    chosen = _OfSessions(batches, keys, regime) if isinstance(regime, ClosureSessions) else batches

    def read(profiles: Mapping[str, Profile], field: str) -> LiveSample:
        if segments is not None:
            live = _divided(joined_rows(chosen, field), keys, segments, profiles, field)
        else:
            rows = SortedBatches(chosen, keys)
            live = count_live(profiles, rows, field)
            live.window = rows.window
        live.left_out = chosen.left_out if isinstance(chosen, _OfSessions) else 0
        return live

    return read


class _OfSessions:
    """The rows of batches that belong to the sessions of a reference.

    Attributes:
        left_out: the number of other rows.
    """

    def __init__(self, batches: Iterable[Columns], keys: RowKeys, regime: ClosureSessions) -> None:
        self._batches, self._keys, self._regime = batches, keys, regime
        self.left_out = 0

    def __iter__(self) -> Iterator[Columns]:
        kept = 0
        for batch in self._batches:
            chosen = rows_in(batch, self._keys, self._regime, OF_REFERENCE)
            rows, before = (len(next(iter(one.values()))) for one in (chosen, batch))
            kept, self.left_out = kept + rows, self.left_out + before - rows
            if rows:
                yield chosen
        if self.left_out and not kept:
            fix = f"holds for none of the {self.left_out:,} rows; send rows of the sessions of the reference"
            raise InvalidField(FieldViolation(OF_REFERENCE, fix))


def _divided(
    columns: Columns, keys: RowKeys, segments: Segments, profiles: Mapping[str, Profile], field: str
) -> LiveSample:
    sort_rows(columns, keys)
    rows = divide_rows(columns, keys, segments, field)
    live = count_live(profiles, [(rows.columns, None if rows.panel is None else rows.panel.times)], field)
    live.window, live.divided = window_of(columns, keys), rows
    return live


def _not_divided(segment: RowSegment) -> None:
    """Return the profile of a segment of a reference that is not divided."""


@dataclass(frozen=True)
class ReportFilter:
    """Conditions on the reports of a model; those that are set must all hold."""

    model: str
    version: int = 0
    drift_detected_only: bool = False
    created_after: datetime | None = None
    created_before: datetime | None = None


def make_report(
    reference: Reference,
    profile: Profile,
    take: SampleReader,
    field: str,
    thresholds: DriftThresholds,
    label: str,
    others: Mapping[str, Profile] = MappingProxyType({}),
    profile_of: ProfileOf = _not_divided,
) -> DriftReport:
    """Compare live data with a reference; author and time are filled in when the report is stored.

    Args:
        reference: the reference.
        profile: its profile.
        take: reads the live data, as `count_live` does for batches.
        field: the name of the data in errors.
        thresholds: the thresholds of the model.
        label: the label of the report.
        others: profiles of the version's other references with the same features, to find the nearest one.
        profile_of: the profile of a segment's own rows of the reference.

    Raises:
        InvalidField: the data do not have the columns of the reference, or have no row.
    """
    profiles = {reference.name: profile, **others}
    live = take(profiles, field)
    ignored = [name for name, own in thresholds.features.items() if own.ignored]
    decisions = {name: decide(compare(one, live, name, ignored), thresholds) for name, one in profiles.items()}
    decision = decisions[reference.name]
    divided = live.divided
    segments, adjustment = compare_segments(divided, profile, profile_of, thresholds) if divided else ((), None)
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
        caveats=(
            *decision.caveats,
            *_assumed(reference, live.window),
            *_left_out(live, reference),
            *(caveats(divided, segments) if divided else ()),
        ),
        references=tuple(sorted(map(_distance, decisions, decisions.values()), key=lambda one: one.distance)),
        joint=decision.joint,
        window=live.window,
        segments=segments,
        segment_adjustment=adjustment,
    )


def _assumed(reference: Reference, window: TimeWindow | None) -> Iterator[str]:
    """Yield what was assumed about the order of rows without a time."""
    if reference.window is None:
        yield REFERENCE_ASSUMED
    elif window is None:
        yield LIVE_ASSUMED


def _left_out(live: LiveSample, reference: Reference) -> Iterator[str]:
    if live.left_out:
        whole = live.rows + live.left_out
        yield f"{live.left_out:,} of {whole:,} rows are not of the sessions of {reference.name!r}, and were left out"


def with_left_out(report: DriftReport, late: int, repeated: int) -> DriftReport:
    """Return the report of a window with the numbers of rows that were left out.

    Args:
        late: rows that were older than a closed window.
        repeated: rows that repeat the time and group of another row of the window.
    """
    late_note = f"{late:,} late rows, older than a window that had closed, were left out"
    repeated_note = f"{repeated:,} rows repeat the time and group of another row, and were left out"
    notes = ((late, late_note), (repeated, repeated_note))
    return replace(report, late_rows=late, caveats=(*report.caveats, *(note for rows, note in notes if rows)))


def _distance(name: str, decision: Decision) -> ReferenceDistance:
    distance = sum(feature.ks for feature in decision.features) / len(decision.features)
    return ReferenceDistance(name, decision.drift_detected, decision.score, decision.confidence, distance)


def keep_report(session: Session, report: DriftReport, actor: ActorContext, *, observed: bool = False) -> DriftReport:
    """Store a report under its id.

    Args:
        observed: whether it is the report of a window of live data, whose alarms depend on several windows.
    """
    kept = replace(report, created_at=actor.at, created_by=actor.name)
    request_mirroring(session, [kept.version])
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
        ReportNotFound: no report has that id.
    """
    row = session.get(DriftReportRow, report_id)
    if row is None:
        raise ReportNotFound(f"there is no report {report_id!r}; ListDriftReports shows them", report_id=report_id)
    return _json.validate_python(row.report)


def list_reports(session: Session, report_filter: ReportFilter, page_size: int, page_token: str) -> Page[DriftReport]:
    """Return a page of a model's reports, the newest first.

    Raises:
        ModelNotFound, VersionNotFound: the named object does not exist.
    """
    model_row(session, report_filter.model)
    if report_filter.version:
        version_row(session, VersionRef(report_filter.model, report_filter.version))
    rows = select(DriftReportRow).where(DriftReportRow.model == report_filter.model)
    if report_filter.version:
        rows = rows.where(DriftReportRow.version == report_filter.version)
    if report_filter.drift_detected_only:
        rows = rows.where(DriftReportRow.drift_detected)
    if report_filter.created_after is not None:
        rows = rows.where(DriftReportRow.created_at >= report_filter.created_after)
    if report_filter.created_before is not None:
        rows = rows.where(DriftReportRow.created_at < report_filter.created_before)
    keys = [Key(DriftReportRow.created_at, descending=True), Key(DriftReportRow.report_id, descending=True)]
    page = fetch_page(session, rows, keys, page_size, page_token, report_filter)
    return Page(tuple(_json.validate_python(row.report) for row in page.items), page.next_page_token)


@dataclass(frozen=True)
class ReportSummary:
    """The result of a report, without its features."""

    report_id: str
    created_at: datetime
    drift_detected: bool
    score: float


def latest_report(session: Session, model: str, version: int, until: datetime | None = None) -> ReportSummary | None:
    """Return the result of a version's newest requested report (not one of live monitoring); None if there is none.

    Args:
        session: the transaction.
        model: the model.
        version: the version.
        until: the newest report at this time; None means now.
    """
    table = DriftReportRow
    summaries = select(table.report_id, table.created_at, table.drift_detected, table.score).where(
        table.model == model, table.version == version, table.observed.is_(False)
    )
    summaries = summaries if until is None else summaries.where(table.created_at <= until)
    newest = session.execute(summaries.order_by(table.created_at.desc(), table.report_id.desc()).limit(1)).first()
    return None if newest is None else ReportSummary(*newest)

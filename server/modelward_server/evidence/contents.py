"""What is on record about a version, as files of an evidence pack: the contract's messages as JSON, and pages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelward.abtest import AbTest, AbTestState
from modelward.drills import Drill
from modelward.evidence.layout import MODEL, ORIGIN, RECORDS, VERSION
from modelward.findings import Finding
from modelward.lifecycle import ArtifactFile, EnginePeriod, ModelVersion, PromotionPolicy, Transition, VersionRef
from modelward.reviews import Review
from modelward.shared.convert.abtest import ab_result_to_proto, ab_test_to_proto
from modelward.shared.convert.comparison import comparison_to_proto
from modelward.shared.convert.drift import report_to_proto
from modelward.shared.convert.drills import drill_to_proto
from modelward.shared.convert.events import period_to_proto
from modelward.shared.convert.findings import finding_to_proto
from modelward.shared.convert.governance import approval_to_proto
from modelward.shared.convert.lifecycle import model_to_proto, transition_to_proto, version_to_proto
from modelward.shared.convert.outcomes import performance_to_proto
from modelward.shared.convert.policy import audit_record_to_proto, policy_to_proto
from modelward.shared.convert.reviews import review_to_proto
from modelward_server.abtest.outcomes import get_ab_result
from modelward_server.abtest.repository import list_ab_tests
from modelward_server.comparison.repository import list_comparisons
from modelward_server.drift.periods import DEFAULT_PERIOD, MAX_PERIODS, Periods, judged_lengths, performance
from modelward_server.drift.queries import scores_until
from modelward_server.drift.reports import ReportFilter, list_reports
from modelward_server.evidence.bom import bill_of_materials
from modelward_server.evidence.log_tree import LogTree
from modelward_server.evidence.states import Extent, State, extent_in, state_of
from modelward_server.lifecycle.drills import DrillFilter, list_drills
from modelward_server.lifecycle.engine_periods import list_periods
from modelward_server.lifecycle.reviews import list_reviews
from modelward_server.lifecycle.transition_queries import list_transitions
from modelward_server.lifecycle.versions import get_version
from modelward_server.reports.model_card.page import draw_page as draw_card
from modelward_server.storage.audit import Kind, payload_of, to_record
from modelward_server.storage.paging import all_items
from modelward_server.storage.signature_tables import ModelSignatureRow
from modelward_server.storage.tables import AuditRow

if TYPE_CHECKING:
    from modelward.drift import DriftReport

PAGE = 200
LATER_OUTCOMES = "outcomes were recorded after this time; the audit log has the result of a test only at its conclusion"


@dataclass(frozen=True)
class VersionContents:
    """The files about one version, in memory, and those that are streamed."""

    version: ModelVersion
    folder: str
    texts: dict[str, bytes]
    files: Sequence[ArtifactFile]
    bundle: str
    """The signature over the files with which the version was registered; empty if there was none."""
    origin: ArtifactFile | None
    """The pack that it was imported with."""


def contents_of(session: Session, tree: LogTree, ref: VersionRef, extent: Extent) -> VersionContents:
    """Collect what is on record about a version.

    Raises:
        ModelNotFound, VersionNotFound: it does not exist, or did not at that time.
    """
    extent = extent_in(session, ref.model, extent)
    version = state_of(session, extent).version(ref)
    folder = f"versions/{ref.model}/{ref.version}"
    texts = dict(_texts(session, tree, version, extent))
    signature = session.get(ModelSignatureRow, (ref.model, ref.version))
    files = () if get_version(session, ref).artifact_deletion else version.files
    return VersionContents(version, folder, texts, files, signature.bundle if signature else "", _origin(version))


def _origin(version: ModelVersion) -> ArtifactFile | None:
    """Return the pack that a version was imported with."""
    origin = version.origin
    return ArtifactFile(ORIGIN, origin.pack_bytes, origin.pack_sha256) if origin else None


def _texts(session: Session, tree: LogTree, version: ModelVersion, extent: Extent) -> Iterator[tuple[str, bytes]]:
    ref, at, state = version.ref, extent.at, state_of(session, extent)
    transitions = list(all_items(lambda token: list_transitions(session, ref, None, at, PAGE, token)))
    approvals, model = state.approvals(ref), state.model(ref.model)
    yield VERSION, message_json(version_to_proto(version))
    yield MODEL, message_json(model_to_proto(model))
    yield "transitions.json", messages_json(map(transition_to_proto, transitions))
    yield "approvals.json", messages_json(map(approval_to_proto, approvals))
    yield "policy.json", message_json(policy_to_proto(state.policy(ref.model)))
    yield "policies.json", to_json_bytes(list(_policies(session, transitions)))
    yield "findings.json", messages_json(map(finding_to_proto, _findings(state, ref)))
    yield "reviews.json", messages_json(map(review_to_proto, _reviews(session, ref, at)))
    yield "drills.json", messages_json(map(drill_to_proto, _drills(session, ref, at)))
    yield "engines.json", messages_json(map(period_to_proto, _engines(session, ref, at)))
    yield RECORDS, to_json_bytes(list(_records(session, tree, ref, extent)))
    yield from _studies(session, version, at)
    yield from _ab_tests(session, version, extent)
    yield from _performance(session, version, extent)
    yield "bom.cdx.json", to_json_bytes(bill_of_materials(version))
    yield "model-card.html", draw_card(model, version, transitions, approvals)


def _studies(session: Session, version: ModelVersion, at: datetime) -> Iterator[tuple[str, bytes]]:
    """Yield comparisons and drift reports, each as JSON and as a page."""
    from modelward_server.reports.comparison.page import draw_page as draw_comparison
    from modelward_server.reports.drift.page import draw_page as draw_drift

    ref = version.ref
    for comparison in all_items(lambda token: list_comparisons(session, ref.model, PAGE, token, at)):
        if ref in {result.version for result in comparison.results}:
            name = f"comparisons/{comparison.comparison_id}"
            yield f"{name}.json", message_json(comparison_to_proto(comparison))
            yield f"{name}.html", draw_comparison(comparison)
    for report in _reports(session, ref, at):
        yield f"drift/{report.report_id}.json", message_json(report_to_proto(report))
        yield f"drift/{report.report_id}.html", draw_drift(report, scores_until(session, report))


def _ab_tests(session: Session, version: ModelVersion, extent: Extent) -> Iterator[tuple[str, bytes]]:
    """Yield A/B tests, each as JSON and as a page; where outcomes came later, the result of then cannot be told."""
    from modelward_server.reports.abtest.page import draw_page as draw_ab_test

    for found in all_items(lambda token: list_ab_tests(session, version.model, None, PAGE, token)):
        if version.ref not in {variant.version for variant in found.variants} or found.created_at > extent.at:
            continue
        test, result = _test_until(found, extent.at), get_ab_result(session, found.test)
        name = f"ab-tests/{test.test}"
        yield f"{name}.json", message_json(ab_test_to_proto(test))
        if result.as_of <= extent.at or not extent.is_past:
            yield f"{name}-result.json", message_json(ab_result_to_proto(result))
            yield f"{name}.html", draw_ab_test(test, result)
        else:
            yield f"{name}-result.json", to_json_bytes({"not_reconstructed": LATER_OUTCOMES})


def _test_until(test: AbTest, at: datetime) -> AbTest:
    """Return a test as it was at a time: its conclusion may have come later."""
    if test.conclusion is None or test.conclusion.concluded_at <= at:
        return test
    return replace(test, state=AbTestState.RUNNING, conclusion=None)


def _performance(session: Session, version: ModelVersion, extent: Extent) -> Iterator[tuple[str, bytes]]:
    """Yield the live performance by days, and by the other periods that were tested for a decline, likewise."""
    from modelward_server.reports.performance.page import draw_page

    for length in sorted({DEFAULT_PERIOD, *judged_lengths(session, version.ref)}):
        periods = Periods(version.ref, length, timedelta(0), extent.at if extent.is_past else None)
        found = list(islice(performance(session, periods, extent.at), MAX_PERIODS))
        if found:
            name = f"performance/{length.total_seconds():.12g}-seconds"
            yield f"{name}.json", messages_json(map(performance_to_proto, found))
            yield f"{name}.html", draw_page(version, found)


def _policies(session: Session, transitions: Iterable[Transition]) -> Iterator[dict[str, Any]]:
    """Yield the promotion policy as it stood at each transition, where one was set."""
    for one in transitions:
        rows = select(AuditRow).where(
            AuditRow.model == one.version.model, AuditRow.kind == Kind.POLICY, AuditRow.sequence < one.sequence
        )
        row = session.scalar(rows.order_by(AuditRow.sequence.desc()).limit(1))
        if row is not None:
            policy = policy_to_proto(payload_of(row, PromotionPolicy))
            yield {"transition": one.sequence, "record": row.sequence, "policy": as_json(policy)}


def _findings(state: State, ref: VersionRef) -> Iterator[Finding]:
    """Yield the findings about a version and about its model as a whole."""
    yield from (finding for finding in state.findings(ref.model) if finding.version in {0, ref.version})


def _engines(session: Session, ref: VersionRef, at: datetime) -> Iterator[EnginePeriod]:
    """Yield the periods in which engines ran a version; those that ended later had not ended."""
    for period in all_items(lambda token: list_periods(session, ref, "", None, at, PAGE, token, at)):
        later = period.ended_at is not None and period.ended_at > at
        yield replace(period, ended_at=None) if later else period


def _reviews(session: Session, ref: VersionRef, at: datetime) -> Iterator[Review]:
    """Yield the reviews of a version and of its model as a whole."""
    for review in all_items(lambda token: list_reviews(session, VersionRef(ref.model, 0), PAGE, token)):
        if review.version in {0, ref.version} and review.reviewed_at <= at:
            yield review


def _drills(session: Session, ref: VersionRef, at: datetime) -> Iterator[Drill]:
    """Yield the drills of a version's model that had ended."""
    of_model = DrillFilter(model=ref.model, started_before=at)
    for drill in all_items(lambda token: list_drills(session, of_model, PAGE, token)):
        if drill.ended_at is not None and drill.ended_at <= at:
            yield drill


def _reports(session: Session, ref: VersionRef, at: datetime) -> Iterator[DriftReport]:
    wanted = ReportFilter(ref.model, ref.version, False, None, at)
    return all_items(lambda token: list_reports(session, wanted, PAGE, token))


def _records(session: Session, tree: LogTree, ref: VersionRef, extent: Extent) -> Iterator[dict[str, Any]]:
    """Yield the audit records about a version and its model, each with its proof."""
    prove = tree.inclusion(session, extent.records)
    own = or_(AuditRow.version == ref.version, AuditRow.version == 0)
    rows = select(AuditRow).where(AuditRow.model == ref.model, own, AuditRow.sequence <= extent.records)
    for row in session.scalars(rows.order_by(AuditRow.sequence)):
        proof = [one.hex() for one in prove(row.sequence)]
        yield {"record": as_json(audit_record_to_proto(to_record(row))), "proof": proof}


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as the contract's JSON."""
    return dict(MessageToDict(message, preserving_proto_field_name=True))


def message_json(message: Message) -> bytes:
    return to_json_bytes(as_json(message))


def messages_json(messages: Iterable[Message]) -> bytes:
    return to_json_bytes(list(map(as_json, messages)))


def to_json_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

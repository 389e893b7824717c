"""Rendering methods: drift reports, comparisons, A/B tests and inventory reports."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from modelward.abtest import AbTest, AbTestResult
from modelward.comparison import Comparison
from modelward.drift import DriftReport
from modelward.shared.convert.findings import day_from_proto
from modelward.v1 import comparison_pb2, drift_pb2, governance_pb2
from modelward.v1.common_pb2 import REPORT_FORMAT_PNG, ReportFormat
from modelward.v1.comparison_pb2_grpc import ComparisonServiceServicer
from modelward.v1.drift_pb2_grpc import DriftServiceServicer
from modelward.v1.governance_pb2_grpc import GovernanceServiceServicer
from modelward_server.abtest.outcomes import get_ab_result
from modelward_server.abtest.repository import get_ab_test
from modelward_server.comparison.repository import get_comparison
from modelward_server.drift.queries import ReportScore, scores_until
from modelward_server.drift.reports import get_report
from modelward_server.lifecycle.model_years.listing import InventoryFilter
from modelward_server.reports.inventory.report import InventoryReports, ReportForm, WantedReport
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork

REPORT_FORMS = {
    governance_pb2.INVENTORY_REPORT_FORMAT_CSV: ReportForm.CSV,
    governance_pb2.INVENTORY_REPORT_FORMAT_EVENTS: ReportForm.EVENTS,
}
"""The forms of inventory reports; any other value means a page."""


class DriftRendering(DriftServiceServicer):
    """Renders drift reports."""

    _unit_of_work: RequestUnitOfWork

    async def RenderDriftReport(
        self, request: drift_pb2.RenderDriftReportRequest, context: Context
    ) -> drift_pb2.RenderDriftReportResponse:
        def read(session: Session) -> tuple[DriftReport, tuple[ReportScore, ...]]:
            report = get_report(session, request.report_id)
            return report, scores_until(session, report)

        report, scores = await self._unit_of_work.read(read)
        content = await self._unit_of_work.executors.compute.run(_draw_report, report, scores, request.format)
        return drift_pb2.RenderDriftReportResponse(content=content, media_type=media_type(request.format))


class ComparisonRendering(ComparisonServiceServicer):
    """Renders comparisons."""

    _unit_of_work: RequestUnitOfWork

    async def RenderComparison(
        self, request: comparison_pb2.RenderComparisonRequest, context: Context
    ) -> comparison_pb2.RenderComparisonResponse:
        comparison = await self._unit_of_work.read(lambda session: get_comparison(session, request.comparison_id))
        content = await self._unit_of_work.executors.compute.run(_draw_comparison, comparison, request.format)
        return comparison_pb2.RenderComparisonResponse(content=content, media_type=media_type(request.format))


class AbTestRendering(ComparisonServiceServicer):
    """Renders A/B tests."""

    _unit_of_work: RequestUnitOfWork

    async def RenderAbTest(
        self, request: comparison_pb2.RenderAbTestRequest, context: Context
    ) -> comparison_pb2.RenderAbTestResponse:
        def read(session: Session) -> tuple[AbTest, AbTestResult]:
            return get_ab_test(session, request.test), get_ab_result(session, request.test)

        test, result = await self._unit_of_work.analyse(read)
        content = await self._unit_of_work.executors.compute.run(_draw_ab_test, test, result, request.format)
        return comparison_pb2.RenderAbTestResponse(content=content, media_type=media_type(request.format))


class InventoryRendering(GovernanceServiceServicer):
    """Renders inventory reports."""

    _unit_of_work: RequestUnitOfWork
    _inventory_reports: InventoryReports

    async def RenderInventoryReport(
        self, request: governance_pb2.RenderInventoryReportRequest, context: Context
    ) -> AsyncIterator[governance_pb2.RenderInventoryReportResponse]:
        pieces = self._inventory_reports.pieces(_wanted_report(request), datetime.now(UTC))
        # Other calls get their turn between the pieces, of which some are empty.
        while (piece := await self._unit_of_work.executors.compute.run(next, pieces, None)) is not None:
            if piece:
                yield governance_pb2.RenderInventoryReportResponse(chunk=piece)


def _wanted_report(request: governance_pb2.RenderInventoryReportRequest) -> WantedReport:
    as_of = day_from_proto(request.as_of, "as_of")
    assert as_of  # The contract requires it.
    form = REPORT_FORMS.get(request.format, ReportForm.HTML)
    only = InventoryFilter(request.owner, request.tier, request.desk)
    return WantedReport(as_of, day_from_proto(request.since, "since"), form, only)


def media_type(report_format: ReportFormat.ValueType) -> str:
    return "image/png" if report_format == REPORT_FORMAT_PNG else "text/html"


def _draw_report(report: DriftReport, scores: tuple[ReportScore, ...], report_format: ReportFormat.ValueType) -> bytes:
    # Imported here: jinja and matplotlib would delay the server's first response.
    from modelward_server.reports.drift.page import draw_page
    from modelward_server.reports.drift.picture import draw_picture

    return (draw_picture if report_format == REPORT_FORMAT_PNG else draw_page)(report, scores)


def _draw_comparison(comparison: Comparison, report_format: ReportFormat.ValueType) -> bytes:
    from modelward_server.reports.comparison.page import draw_page
    from modelward_server.reports.comparison.picture import draw_picture

    return (draw_picture if report_format == REPORT_FORMAT_PNG else draw_page)(comparison)


def _draw_ab_test(test: AbTest, result: AbTestResult, report_format: ReportFormat.ValueType) -> bytes:
    from modelward_server.reports.abtest.page import draw_page
    from modelward_server.reports.abtest.picture import draw_picture

    return (draw_picture if report_format == REPORT_FORMAT_PNG else draw_page)(test, result)

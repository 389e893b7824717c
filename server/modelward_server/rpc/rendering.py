"""The call that draws a drift report."""

import asyncio

from sqlalchemy.orm import Session

from modelward.drift import DriftReport
from modelward.v1 import drift_pb2 as pb
from modelward.v1.common_pb2 import REPORT_FORMAT_PNG
from modelward.v1.drift_pb2_grpc import DriftServiceServicer
from modelward_server.drift.history import Score, scores_until
from modelward_server.drift.reports import get_report
from modelward_server.rpc.calls import Calls, Context


class RenderingCalls(DriftServiceServicer):
    """How a report looks."""

    _calls: Calls

    async def RenderDriftReport(
        self, request: pb.RenderDriftReportRequest, context: Context
    ) -> pb.RenderDriftReportResponse:
        def read(session: Session) -> tuple[DriftReport, tuple[Score, ...]]:
            report = get_report(session, request.report_id)
            return report, scores_until(session, report)

        report, scores = await self._calls.read(read)
        draw = _as_picture if request.format == REPORT_FORMAT_PNG else _as_page
        return await asyncio.to_thread(draw, report, scores)


def _as_page(report: DriftReport, scores: tuple[Score, ...]) -> pb.RenderDriftReportResponse:
    from modelward_server.drift.render.page import draw_page

    return pb.RenderDriftReportResponse(content=draw_page(report, scores), media_type="text/html")


def _as_picture(report: DriftReport, scores: tuple[Score, ...]) -> pb.RenderDriftReportResponse:
    from modelward_server.drift.render.picture import draw_picture

    return pb.RenderDriftReportResponse(content=draw_picture(report, scores), media_type="image/png")

"""The drift service's methods for predictions and their labels: convert, call, convert."""

from datetime import UTC, datetime

from modelward.shared.convert.common import ref_from_proto, span_from_proto
from modelward.shared.convert.outcomes import outcome_from_proto, performance_to_proto, recorded_to_proto
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceServicer
from modelward_server.drift.outcomes import check, record_outcomes
from modelward_server.drift.performance_alarms import evaluate_newest_period, keep_test_result
from modelward_server.drift.periods import DEFAULT_PERIOD, Periods, list_performance
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork, actor_of


class OutcomeServicer(DriftServiceServicer):
    """Methods for outcomes of predictions."""

    _unit_of_work: RequestUnitOfWork

    async def RecordOutcomes(self, request: pb.RecordOutcomesRequest, context: Context) -> pb.RecordOutcomesResponse:
        periods = _periods(request)
        outcomes = list(map(outcome_from_proto, request.outcomes))
        check(outcomes)
        answer = await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: recorded_to_proto(record_outcomes(session, periods.ref, outcomes, actor)),
        )
        await self._watch_performance(periods, context)
        return answer

    async def _watch_performance(self, periods: Periods, context: Context) -> None:
        """Evaluate the newest complete period, outside the change that completed it: it may read a million rows.

        When the server dies before, the period is evaluated with the next outcomes, or when these are sent again.
        """
        judged = await self._unit_of_work.read(
            lambda session: evaluate_newest_period(session, periods, datetime.now(UTC))
        )
        if judged is not None:
            await self._unit_of_work.run_as_system(
                actor_of(context), lambda session, actor: keep_test_result(session, periods, *judged, actor)
            )

    async def ListPerformance(self, request: pb.ListPerformanceRequest, context: Context) -> pb.ListPerformanceResponse:
        page = await self._unit_of_work.analyse(
            lambda session: list_performance(
                session, _periods(request), request.page_size, request.page_token, datetime.now(UTC)
            )
        )
        return pb.ListPerformanceResponse(
            periods=map(performance_to_proto, page.items), next_page_token=page.next_page_token
        )


def _periods(request: pb.RecordOutcomesRequest | pb.ListPerformanceRequest) -> Periods:
    return Periods(
        ref_from_proto(request.version),
        span_from_proto(request.period) if request.HasField("period") else DEFAULT_PERIOD,
        span_from_proto(request.horizon),
    )

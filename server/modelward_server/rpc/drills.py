"""The governance service's methods for drills: convert, call, convert."""

from datetime import UTC, datetime

from modelward.shared.convert.common import span_from_proto
from modelward.shared.convert.drills import drill_to_proto
from modelward.v1 import governance_pb2 as pb
from modelward.v1.governance_pb2_grpc import GovernanceServiceServicer
from modelward_server.lifecycle import drills
from modelward_server.lifecycle.drills import DrillAnswer, DrillFilter
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.requests import optional_time


class DrillServicer(GovernanceServiceServicer):
    """Methods that start, answer and list drills."""

    _unit_of_work: RequestUnitOfWork

    async def StartDrill(self, request: pb.StartDrillRequest, context: Context) -> pb.StartDrillResponse:
        timeout = span_from_proto(request.timeout) if request.HasField("timeout") else None
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.StartDrillResponse(
                drills=map(drill_to_proto, drills.start_drills(session, request.models, request.reason, timeout, actor))
            ),
            urgent=True,  # As a halt, whose time it measures.
        )

    async def AnswerDrill(self, request: pb.AnswerDrillRequest, context: Context) -> pb.AnswerDrillResponse:
        answer = _answer(request, datetime.now(UTC))
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.AnswerDrillResponse(
                drill=drill_to_proto(drills.answer_drill(session, request.drill_id, answer, actor))
            ),
            recorded=False,
        )

    async def GetDrill(self, request: pb.GetDrillRequest, context: Context) -> pb.GetDrillResponse:
        found = await self._unit_of_work.read(lambda session: drills.get_drill(session, request.drill_id))
        return pb.GetDrillResponse(drill=drill_to_proto(found))

    async def ListDrills(self, request: pb.ListDrillsRequest, context: Context) -> pb.ListDrillsResponse:
        wanted = DrillFilter(
            request.model, optional_time(request, "started_after"), optional_time(request, "started_before")
        )
        page = await self._unit_of_work.read(
            lambda session: drills.list_drills(session, wanted, request.page_size, request.page_token)
        )
        return pb.ListDrillsResponse(drills=map(drill_to_proto, page.items), next_page_token=page.next_page_token)


def _answer(request: pb.AnswerDrillRequest, received_at: datetime) -> DrillAnswer:
    stopped_after = span_from_proto(request.stopped_after) if request.HasField("stopped_after") else None
    return DrillAnswer(request.engine, received_at, stopped_after, request.used_none)

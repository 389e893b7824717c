"""The registry's methods for watching changes, and for the engines that follow them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from modelward.lifecycle import VersionRef
from modelward.shared.convert.common import ref_from_proto, ref_to_proto, span_from_proto
from modelward.shared.convert.events import (
    failure_from_proto,
    model_rollout_to_proto,
    period_to_proto,
    rollout_to_proto,
)
from modelward.shared.convert.overview import overview_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceServicer
from modelward_server import identity
from modelward_server.actor_context import ActorContext
from modelward_server.governance import overview
from modelward_server.lifecycle import engine_periods, rollout
from modelward_server.lifecycle.engine_limits import EngineLimits
from modelward_server.rpc.answer_cache import FOREVER, AnswerCache
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.model_events import ModelWatches
from modelward_server.rpc.requests import optional_time


class WatchServicer(LifecycleServiceServicer):
    """Methods that stream changes, report their rollout to engines, and give an overview of all models."""

    _unit_of_work: RequestUnitOfWork
    _answers: AnswerCache
    _watches: ModelWatches
    _engine_limits: EngineLimits

    async def WatchModels(
        self, request: pb.WatchModelsRequest, context: Context
    ) -> AsyncIterator[pb.WatchModelsResponse]:
        async for response in self._watches.watch(request):
            yield response

    async def ReportActiveVersion(
        self, request: pb.ReportActiveVersionRequest, context: Context
    ) -> pb.ReportActiveVersionResponse:
        ref = ref_from_proto(request.version)
        silence = span_from_proto(request.silent_after) if request.HasField("silent_after") else None
        failure = failure_from_proto(request.failure) if request.HasField("failure") else None
        identified = identity.current.get()
        client = identified.name if identified else ""

        def report(session: Session, actor: ActorContext) -> pb.ReportActiveVersionResponse:
            expected = rollout.report_active(
                *(session, ref, request.engine, silence, failure, actor), client, self._engine_limits
            )
            return pb.ReportActiveVersionResponse(expected=ref_to_proto(expected) if expected else None)

        return await self._unit_of_work.run_idempotent(request, context, report)

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Context) -> pb.GetRolloutResponse:
        now = datetime.now(UTC)

        def current(session: Session) -> tuple[pb.GetRolloutResponse, datetime]:
            found = rollout_to_proto(rollout.get_rollout(session, request.model, now))
            return found, rollout.unchanged_until(session, request.model, now) or FOREVER

        return await self._answers.read_until(request, current)

    async def ListRollouts(self, request: pb.ListRolloutsRequest, context: Context) -> pb.ListRolloutsResponse:
        now = datetime.now(UTC)
        page = await self._unit_of_work.read(
            lambda session: rollout.list_rollouts(
                session, request.name_prefix, request.page_size, request.page_token, now
            )
        )
        return pb.ListRolloutsResponse(
            rollouts=map(model_rollout_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def ListEnginePeriods(
        self, request: pb.ListEnginePeriodsRequest, context: Context
    ) -> pb.ListEnginePeriodsResponse:
        now = datetime.now(UTC)
        page = await self._unit_of_work.read(
            lambda session: engine_periods.list_periods(
                session,
                VersionRef(request.model, request.version),
                request.engine,
                optional_time(request, "ended_after"),
                optional_time(request, "started_before"),
                request.page_size,
                request.page_token,
                now,
            )
        )
        return pb.ListEnginePeriodsResponse(
            periods=map(period_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def GetOverview(self, request: pb.GetOverviewRequest, context: Context) -> pb.GetOverviewResponse:
        now = datetime.now(UTC)
        found = await self._unit_of_work.analyse(
            lambda session: overview.get_overview(
                session, request.name_prefix, request.page_size, request.page_token, now
            )
        )
        return overview_to_proto(found)

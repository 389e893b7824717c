"""The servicer of the retraining service: convert, call, convert."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from modelward.shared.convert.retraining import (
    due_model_to_proto,
    schedule_to_proto,
    trigger_from_proto,
)
from modelward.shared.convert.schedules import preview_to_proto, record_to_proto, schedule_policy_from_proto
from modelward.v1 import retraining_pb2 as pb
from modelward_server.retraining import firings, jobs, preview, schedules
from modelward_server.retraining.job_waiters import JobWaiters
from modelward_server.retraining.post_training_task import PostTraining
from modelward_server.rpc.answer_cache import AnswerCache
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.jobs import JobServicer
from modelward_server.rpc.requests import optional_time
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources

DUE_LIFETIME = timedelta(seconds=0.5)
"""How long the models that are due stay so without a change: schedules are evaluated at most so often."""


class RetrainingServicer(JobServicer):
    """Serves `modelward.v1.RetrainingService`."""

    def __init__(
        self,
        unit_of_work: RequestUnitOfWork,
        blobs: BlobStore,
        sources: Sources,
        job_waiters: JobWaiters,
        post_training: PostTraining,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._blobs = blobs
        self._sources = sources
        self._job_waiters = job_waiters
        self._post_training = post_training
        self._answers = AnswerCache(unit_of_work)

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: Context) -> pb.CreateScheduleResponse:
        triggers = [trigger_from_proto(trigger) for trigger in request.triggers]
        policy = schedule_policy_from_proto(request.policy)
        await self._unit_of_work.executors.compute.run(schedules.check_schedule, triggers, policy)
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.CreateScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.create_schedule(
                        session, request.model, request.schedule_id, request.description, triggers, actor, policy
                    )
                )
            ),
        )

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Context) -> pb.GetScheduleResponse:
        schedule = await self._unit_of_work.read(lambda session: schedules.get_schedule(session, request.schedule_id))
        return pb.GetScheduleResponse(schedule=schedule_to_proto(schedule))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Context) -> pb.ListSchedulesResponse:
        page = await self._unit_of_work.read(
            lambda session: schedules.list_schedules(session, request.model, request.page_size, request.page_token)
        )
        return pb.ListSchedulesResponse(
            schedules=map(schedule_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def UpdateSchedule(self, request: pb.UpdateScheduleRequest, context: Context) -> pb.UpdateScheduleResponse:
        changed = request.update_mask.paths
        triggers = [trigger_from_proto(trigger) for trigger in request.triggers] if "triggers" in changed else []
        policy = schedule_policy_from_proto(request.policy) if "policy" in changed else schedules.NO_POLICY
        await self._unit_of_work.executors.compute.run(schedules.check_schedule, triggers, policy)
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.UpdateScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.update_schedule(
                        session,
                        request.schedule_id,
                        request.update_mask.paths,
                        request.description,
                        triggers,
                        request.etag,
                        actor,
                        policy,
                    )
                )
            ),
        )

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Context) -> pb.DeleteScheduleResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.DeleteScheduleResponse(
                schedule=schedule_to_proto(schedules.delete_schedule(session, request.schedule_id, request.etag, actor))
            ),
        )

    async def PauseSchedule(self, request: pb.PauseScheduleRequest, context: Context) -> pb.PauseScheduleResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.PauseScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.pause_schedule(session, request.schedule_id, request.reason, request.etag, actor)
                )
            ),
        )

    async def ResumeSchedule(self, request: pb.ResumeScheduleRequest, context: Context) -> pb.ResumeScheduleResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.ResumeScheduleResponse(
                schedule=schedule_to_proto(schedules.resume_schedule(session, request.schedule_id, request.etag, actor))
            ),
        )

    async def PreviewSchedule(self, request: pb.PreviewScheduleRequest, context: Context) -> pb.PreviewScheduleResponse:
        after, now = optional_time(request, "after"), datetime.now(UTC)
        if request.WhichOneof("subject") == "draft":
            triggers = [trigger_from_proto(trigger) for trigger in request.draft.triggers]
            policy = schedule_policy_from_proto(request.draft.policy)
            draft = await self._unit_of_work.executors.compute.run(
                preview.preview_draft, triggers, policy, after, request.count, now
            )
            return preview_to_proto(draft)
        scheduled = await self._unit_of_work.analyse(
            lambda session: preview.preview_schedule(session, request.schedule_id, after, request.count, now)
        )
        return preview_to_proto(scheduled)

    async def ListFirings(self, request: pb.ListFiringsRequest, context: Context) -> pb.ListFiringsResponse:
        page = await self._unit_of_work.read(
            lambda session: firings.list_firings(
                session, request.model, request.schedule_id, request.page_size, request.page_token
            )
        )
        return pb.ListFiringsResponse(firings=map(record_to_proto, page.items), next_page_token=page.next_page_token)

    async def ListDueModels(self, request: pb.ListDueModelsRequest, context: Context) -> pb.ListDueModelsResponse:
        now = datetime.now(UTC)

        def listed(session: Session) -> tuple[pb.ListDueModelsResponse, datetime]:
            page = jobs.list_due(session, request.model, request.page_size, request.page_token, now)
            answer = pb.ListDueModelsResponse(
                due_models=map(due_model_to_proto, page.items), next_page_token=page.next_page_token
            )
            return answer, now + DUE_LIFETIME

        return await self._answers.read_until(request, listed, analyses=True)

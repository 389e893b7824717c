"""The retraining service's calls: convert, call, convert."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message

from modelward._convert.common import span_from_proto
from modelward._convert.retraining import (
    due_model_to_proto,
    job_state_from_proto,
    job_to_proto,
    schedule_to_proto,
    trigger_from_proto,
)
from modelward._convert.schedules import preview_to_proto, record_to_proto, schedule_policy_from_proto
from modelward.v1 import retraining_pb2 as pb
from modelward.v1.retraining_pb2_grpc import RetrainingServiceServicer
from modelward_server.retraining import firings, jobs, preview, schedules
from modelward_server.retraining.lease import DEFAULT_LEASE
from modelward_server.rpc.calls import Calls, Context
from modelward_server.rpc.requests import optional_time


class RetrainingServicer(RetrainingServiceServicer):
    """Serves `modelward.v1.RetrainingService`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: Context) -> pb.CreateScheduleResponse:
        triggers = [trigger_from_proto(trigger) for trigger in request.triggers]
        policy = schedule_policy_from_proto(request.policy)
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.CreateScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.create_schedule(
                        session, request.model, request.schedule_id, request.description, triggers, caller, policy
                    )
                )
            ),
        )

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Context) -> pb.GetScheduleResponse:
        found = await self._calls.read(lambda session: schedules.get_schedule(session, request.schedule_id))
        return pb.GetScheduleResponse(schedule=schedule_to_proto(found))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Context) -> pb.ListSchedulesResponse:
        page = await self._calls.read(
            lambda session: schedules.list_schedules(session, request.model, request.page_size, request.page_token)
        )
        return pb.ListSchedulesResponse(
            schedules=map(schedule_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def UpdateSchedule(self, request: pb.UpdateScheduleRequest, context: Context) -> pb.UpdateScheduleResponse:
        triggers = [trigger_from_proto(trigger) for trigger in request.triggers]
        policy = schedule_policy_from_proto(request.policy)
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.UpdateScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.update_schedule(
                        session,
                        request.schedule_id,
                        request.update_mask.paths,
                        request.description,
                        triggers,
                        request.etag,
                        caller,
                        policy,
                    )
                )
            ),
        )

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Context) -> pb.DeleteScheduleResponse:
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.DeleteScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.delete_schedule(session, request.schedule_id, request.etag, caller)
                )
            ),
        )

    async def PauseSchedule(self, request: pb.PauseScheduleRequest, context: Context) -> pb.PauseScheduleResponse:
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.PauseScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.pause_schedule(session, request.schedule_id, request.reason, request.etag, caller)
                )
            ),
        )

    async def ResumeSchedule(self, request: pb.ResumeScheduleRequest, context: Context) -> pb.ResumeScheduleResponse:
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.ResumeScheduleResponse(
                schedule=schedule_to_proto(
                    schedules.resume_schedule(session, request.schedule_id, request.etag, caller)
                )
            ),
        )

    async def PreviewSchedule(self, request: pb.PreviewScheduleRequest, context: Context) -> pb.PreviewScheduleResponse:
        after, now = optional_time(request, "after"), datetime.now(UTC)
        if request.WhichOneof("subject") == "draft":
            triggers = [trigger_from_proto(trigger) for trigger in request.draft.triggers]
            policy = schedule_policy_from_proto(request.draft.policy)
            draft = await asyncio.to_thread(preview.preview_draft, triggers, policy, after, request.count, now)
            return preview_to_proto(draft)
        found = await self._calls.read(
            lambda session: preview.preview_schedule(session, request.schedule_id, after, request.count, now)
        )
        return preview_to_proto(found)

    async def ListFirings(self, request: pb.ListFiringsRequest, context: Context) -> pb.ListFiringsResponse:
        page = await self._calls.read(
            lambda session: firings.list_firings(
                session, request.model, request.schedule_id, request.page_size, request.page_token
            )
        )
        return pb.ListFiringsResponse(firings=map(record_to_proto, page.items), next_page_token=page.next_page_token)

    async def ListDueModels(self, request: pb.ListDueModelsRequest, context: Context) -> pb.ListDueModelsResponse:
        now = datetime.now(UTC)
        page = await self._calls.read(
            lambda session: jobs.list_due(session, request.model, request.page_size, request.page_token, now)
        )
        return pb.ListDueModelsResponse(
            due_models=map(due_model_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def RequestRetraining(
        self, request: pb.RequestRetrainingRequest, context: Context
    ) -> pb.RequestRetrainingResponse:
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.RequestRetrainingResponse(
                job=job_to_proto(jobs.request_retraining(session, request.model, request.reason, caller))
            ),
        )

    async def LeaseJob(self, request: pb.LeaseJobRequest, context: Context) -> pb.LeaseJobResponse:
        span = optional_span(request, "lease") or DEFAULT_LEASE
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.LeaseJobResponse(
                job=job_to_proto(jobs.lease_job(session, request.model, request.holder, span, caller))
            ),
        )

    async def HeartbeatJob(self, request: pb.HeartbeatJobRequest, context: Context) -> pb.HeartbeatJobResponse:
        span = optional_span(request, "lease")
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.HeartbeatJobResponse(
                job=job_to_proto(
                    jobs.heartbeat_job(session, request.job_id, request.holder, request.attempt, span, caller)
                )
            ),
        )

    async def CompleteJob(self, request: pb.CompleteJobRequest, context: Context) -> pb.CompleteJobResponse:
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.CompleteJobResponse(
                job=job_to_proto(
                    jobs.complete_job(
                        session, request.job_id, request.holder, request.attempt, request.successor, caller
                    )
                )
            ),
        )

    async def FailJob(self, request: pb.FailJobRequest, context: Context) -> pb.FailJobResponse:
        return await self._calls.write(
            request,
            context,
            lambda session, caller: pb.FailJobResponse(
                job=job_to_proto(
                    jobs.fail_job(
                        session,
                        request.job_id,
                        request.holder,
                        request.attempt,
                        request.reason,
                        request.give_up,
                        caller,
                    )
                )
            ),
        )

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        now = datetime.now(UTC)
        return pb.GetJobResponse(
            job=job_to_proto(await self._calls.read(lambda session: jobs.get_job(session, request.job_id, now)))
        )

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        now = datetime.now(UTC)
        states = [state for value in request.states if (state := job_state_from_proto(value))]
        page = await self._calls.read(
            lambda session: jobs.list_jobs(session, request.model, states, request.page_size, request.page_token, now)
        )
        return pb.ListJobsResponse(jobs=map(job_to_proto, page.items), next_page_token=page.next_page_token)


def optional_span(request: Message, field: str) -> timedelta | None:
    """Return a span of time that a request may leave out."""
    return span_from_proto(getattr(request, field)) if request.HasField(field) else None

"""The client's methods for schedules: create, change, preview, and what became of their firings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask

from modelward._async.connection import AsyncConnection
from modelward.retraining import AtSession, Cron, OnDrift, OnPerformance, Schedule, triggers_of
from modelward.schedules import FiringRecord, SchedulePolicy, SchedulePreview
from modelward.shared.convert.common import time_to_proto
from modelward.shared.convert.retraining import schedule_from_proto, trigger_to_proto
from modelward.shared.convert.schedules import preview_from_proto, record_from_proto, schedule_policy_to_proto
from modelward.v1 import retraining_pb2 as pb

PAGE_SIZE = 200


class AsyncSchedules(AsyncConnection):
    """Schedules and their firings."""

    async def create_schedule(
        self,
        model: str,
        *,
        every: timedelta | None = None,
        cron: str | Cron | None = None,
        session: AtSession | None = None,
        drift: bool | float | OnDrift | None = None,
        performance: OnPerformance | Sequence[OnPerformance] = (),
        schedule_id: str = "",
        description: str = "",
        policy: SchedulePolicy | None = None,
    ) -> Schedule:
        """Create a schedule; any one of its triggers makes the model due.

        Args:
            model: the model's name.
            every: due so long after the last training; at least a minute.
            cron: due at the times of an expression, as `"30 17 * * FRI"` in UTC or `Cron(..., "America/New_York")`.
            session: due by the sessions of an exchange, as `AtSession("XNYS", after_close=timedelta(minutes=30))`.
            drift: due when the latest drift report of the version in production says so: True for the report's own
                decision, a number for the least score.
            performance: due when a metric of the version in production, as `log_metrics` brought it, breaks a bound.
            schedule_id: the schedule's id; the server makes one when it is empty.
            description: what it is for.
            policy: what becomes of its firings: start and end, freezes, jitter, catch-up, overlap, cool-down, budget.

        Raises:
            ModelNotFound: there is no such model.
            ScheduleExists: the id is taken.
            InvalidField: there is no trigger, or one makes no sense.
        """
        request = pb.CreateScheduleRequest(
            model=model,
            triggers=map(trigger_to_proto, triggers_of(every, cron, session, drift, performance)),
            schedule_id=schedule_id,
            description=description,
            policy=None if policy is None else schedule_policy_to_proto(policy),
        )
        return schedule_from_proto((await self._call(self._retraining.CreateSchedule, request)).schedule)

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFound: there is none of that id.
        """
        request = pb.GetScheduleRequest(schedule_id=schedule_id)
        return schedule_from_proto((await self._call(self._retraining.GetSchedule, request)).schedule)

    async def list_schedules(self, model: str = "") -> AsyncIterator[Schedule]:
        """Iterate over the schedules of one model, or of all, by id.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListSchedulesRequest(model=model, page_size=PAGE_SIZE)
        async for page in self._pages(self._retraining.ListSchedules, request):
            for schedule in page.schedules:
                yield schedule_from_proto(schedule)

    async def update_schedule(
        self,
        schedule_id: str,
        *,
        every: timedelta | None = None,
        cron: str | Cron | None = None,
        session: AtSession | None = None,
        drift: bool | float | OnDrift | None = None,
        performance: OnPerformance | Sequence[OnPerformance] = (),
        description: str | None = None,
        policy: SchedulePolicy | None = None,
        etag: str = "",
    ) -> Schedule:
        """Replace a schedule's triggers, when any is given, its description or its whole policy, when they are.

        Raises:
            ScheduleNotFound: there is none of that id.
            EtagMismatch: it changed since `etag` was read.
            InvalidField: nothing is to be changed, or a trigger makes no sense.
        """
        triggers = triggers_of(every, cron, session, drift, performance)
        given = {"triggers": bool(triggers), "description": description is not None, "policy": policy is not None}
        request = pb.UpdateScheduleRequest(
            schedule_id=schedule_id,
            triggers=map(trigger_to_proto, triggers),
            description=description or "",
            update_mask=FieldMask(paths=[name for name, is_given in given.items() if is_given]),
            etag=etag,
            policy=None if policy is None else schedule_policy_to_proto(policy),
        )
        return schedule_from_proto((await self._call(self._retraining.UpdateSchedule, request)).schedule)

    async def delete_schedule(self, schedule_id: str, *, etag: str = "") -> Schedule:
        """Delete a schedule and return it as it was; an open job stays.

        Raises:
            ScheduleNotFound: there is none of that id.
            EtagMismatch: it changed since `etag` was read.
        """
        request = pb.DeleteScheduleRequest(schedule_id=schedule_id, etag=etag)
        return schedule_from_proto((await self._call(self._retraining.DeleteSchedule, request)).schedule)

    async def pause_schedule(self, schedule_id: str, *, reason: str = "", etag: str = "") -> Schedule:
        """Stop a schedule from making its model due, until `resume_schedule`.

        Raises:
            ScheduleNotFound: there is none of that id.
            EtagMismatch: it changed since `etag` was read.
        """
        request = pb.PauseScheduleRequest(schedule_id=schedule_id, reason=reason, etag=etag)
        return schedule_from_proto((await self._call(self._retraining.PauseSchedule, request)).schedule)

    async def resume_schedule(self, schedule_id: str, *, etag: str = "") -> Schedule:
        """End a pause; the policy's catch-up says what becomes of the times that were missed.

        Raises:
            ScheduleNotFound: there is none of that id.
            EtagMismatch: it changed since `etag` was read.
        """
        request = pb.ResumeScheduleRequest(schedule_id=schedule_id, etag=etag)
        return schedule_from_proto((await self._call(self._retraining.ResumeSchedule, request)).schedule)

    async def preview_schedule(
        self, schedule_id: str, *, after: datetime | None = None, count: int = 10
    ) -> SchedulePreview:
        """Show when a schedule would fire next by the clock, if a training followed each firing at once.

        Args:
            after: begin behind this instant; now when it is left out.
            count: how many firings at the most.

        Raises:
            ScheduleNotFound: there is none of that id.
            CalendarEnds: an exchange's calendar does not reach that far.
        """
        request = pb.PreviewScheduleRequest(schedule_id=schedule_id, after=time_to_proto(after), count=count)
        return preview_from_proto(await self._call(self._retraining.PreviewSchedule, request))

    async def preview_triggers(
        self,
        *,
        every: timedelta | None = None,
        cron: str | Cron | None = None,
        session: AtSession | None = None,
        policy: SchedulePolicy | None = None,
        after: datetime | None = None,
        count: int = 10,
    ) -> SchedulePreview:
        """Show when triggers that no schedule has would fire, counted from a training at `after` or else now.

        Raises:
            InvalidField: there is no trigger, or one makes no sense.
            CalendarEnds: an exchange's calendar does not reach that far.
        """
        draft = pb.ScheduleDraft(
            triggers=map(trigger_to_proto, triggers_of(every, cron, session)),
            policy=None if policy is None else schedule_policy_to_proto(policy),
        )
        request = pb.PreviewScheduleRequest(draft=draft, after=time_to_proto(after), count=count)
        return preview_from_proto(await self._call(self._retraining.PreviewSchedule, request))

    async def list_firings(self, model: str = "", *, schedule_id: str = "") -> AsyncIterator[FiringRecord]:
        """Iterate over what became of every firing, the newest first: its job, or why it was skipped.

        Args:
            model: only firings for this model; all when it is empty.
            schedule_id: only firings of this schedule, which may be deleted; all when it is empty.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListFiringsRequest(model=model, schedule_id=schedule_id, page_size=PAGE_SIZE)
        async for page in self._pages(self._retraining.ListFirings, request):
            for firing in page.firings:
                yield record_from_proto(firing)

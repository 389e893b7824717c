"""The client's methods for retraining: who is due, jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from modelward._async.connection import AsyncConnection
from modelward._convert.common import span_to_proto
from modelward._convert.retraining import (
    due_model_from_proto,
    job_from_proto,
    job_state_to_proto,
)
from modelward._refs import AnyVersion, as_job_state, successor_number
from modelward.retraining import DueModel, Job, JobState
from modelward.v1 import retraining_pb2 as pb

PAGE_SIZE = 200


class AsyncRetraining(AsyncConnection):
    """Due models and retraining jobs."""

    async def list_due(self, model: str = "") -> AsyncIterator[DueModel]:
        """Iterate over the models that are due, the longest due first, with every reason why.

        Args:
            model: only this one; all when it is empty.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListDueModelsRequest(model=model, page_size=PAGE_SIZE)
        async for page in self._pages(self._retraining.ListDueModels, request):
            for due in page.due_models:
                yield due_model_from_proto(due)

    async def request_retraining(self, model: str, *, reason: str = "") -> Job:
        """Make a model due by hand, and return its open job, new or with one reason more.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.RequestRetrainingRequest(model=model, reason=reason)
        return job_from_proto((await self._call(self._retraining.RequestRetraining, request)).job)

    async def lease_job(self, model: str = "", *, holder: str, lease: timedelta | None = None) -> Job:
        """Take the job of a due model; nobody else gets it while the lease holds.

        Args:
            model: empty for the one that is due the longest and whose job is free.
            holder: who takes it, as `"trainer-7"`.
            lease: how long it holds without a heartbeat, from a second to a day; ten minutes when it is left out.

        Raises:
            NotDue: the model is not due or its job waits after a failure; without a model, nothing is to be had.
            JobAlreadyLeased: somebody holds the model's job.
            ModelNotFound: there is no such model.
        """
        request = pb.LeaseJobRequest(model=model, holder=holder, lease=span_to_proto(lease))
        return job_from_proto((await self._call(self._retraining.LeaseJob, request)).job)

    async def heartbeat_job(self, job: Job, *, lease: timedelta | None = None) -> Job:
        """Say that the worker is alive: the lease then holds from now on.

        Args:
            job: as `lease_job` returned it.
            lease: how long from now on; as long as it was leased for when it is left out.

        Raises:
            JobNotHeld: the lease has run out, or the job has ended.
        """
        request = pb.HeartbeatJobRequest(
            job_id=job.job_id, holder=job.holder, attempt=job.attempt, lease=span_to_proto(lease)
        )
        return job_from_proto((await self._call(self._retraining.HeartbeatJob, request)).job)

    async def complete_job(self, job: Job, successor: AnyVersion | int) -> Job:
        """End a job with the version that came of it, which is registered already.

        Args:
            job: as `lease_job` returned it.
            successor: a version of the job's model, or only its number.

        Raises:
            JobNotHeld: the lease has run out, or the job has ended.
            VersionNotFound: the model has no such version.
            InvalidField: it is a version of another model, or older than the job.
        """
        request = pb.CompleteJobRequest(
            job_id=job.job_id, holder=job.holder, attempt=job.attempt, successor=successor_number(job, successor)
        )
        return job_from_proto((await self._call(self._retraining.CompleteJob, request)).job)

    async def fail_job(self, job: Job, reason: str, *, give_up: bool = False) -> Job:
        """End an attempt without success; the job waits for the next one, or has failed for good.

        Args:
            job: as `lease_job` returned it.
            reason: what went wrong.
            give_up: whether to try no more, though attempts are left.

        Raises:
            JobNotHeld: the lease has run out, or the job has ended.
        """
        request = pb.FailJobRequest(
            job_id=job.job_id, holder=job.holder, attempt=job.attempt, reason=reason, give_up=give_up
        )
        return job_from_proto((await self._call(self._retraining.FailJob, request)).job)

    async def get_job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            JobNotFound: there is none of that id.
        """
        return job_from_proto((await self._call(self._retraining.GetJob, pb.GetJobRequest(job_id=job_id))).job)

    async def list_jobs(self, model: str = "", *, states: Sequence[JobState | str] = ()) -> AsyncIterator[Job]:
        """Iterate over the jobs of one model, or of all, the newest first.

        Args:
            states: only jobs in one of these; all when it is empty.

        Raises:
            ModelNotFound: there is no such model.
        """
        wanted = [job_state_to_proto(as_job_state(state)) for state in states]
        request = pb.ListJobsRequest(model=model, states=wanted, page_size=PAGE_SIZE)
        async for page in self._pages(self._retraining.ListJobs, request):
            for job in page.jobs:
                yield job_from_proto(job)

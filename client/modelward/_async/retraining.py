"""The client's methods for retraining: who is due, jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from modelward._async.connection import AsyncConnection
from modelward._coerce import AnyVersion, as_job_state, successor_number
from modelward._training_table import end_of, put_labelled
from modelward.retraining import DueModel, Job, JobState, RetrainingPolicy
from modelward.shared.convert.common import span_to_proto, time_to_proto
from modelward.shared.convert.retraining import (
    due_model_from_proto,
    job_from_proto,
    job_state_to_proto,
    retraining_policy_from_proto,
    retraining_policy_to_proto,
)
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

    async def request_retraining(
        self,
        model: str,
        *,
        reason: str = "",
        queue: str = "",
        labels: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        data_from: datetime | None = None,
        data_until: datetime | None = None,
    ) -> Job:
        """Make a model due by hand, and return its open job, new or with one reason more.

        Args:
            model: the model's name.
            reason: why, for the record.
            queue: where the job waits; by the model's retraining policy when it is empty.
            labels: what workers choose it by, beside the policy's.
            parameters: what to train with, beside the policy's and before them.
            data_from: where the data to train on begins; by the policy's window when it is left out.
            data_until: where they end; now when it is left out.

        Raises:
            ModelNotFound: there is no such model.
            InvalidField: the data end before they begin.
        """
        request = pb.RequestRetrainingRequest(
            model=model,
            reason=reason,
            queue=queue,
            labels=labels or {},
            parameters=parameters or {},
            data_from=time_to_proto(data_from),
            data_until=time_to_proto(data_until),
        )
        return job_from_proto((await self._call(self._retraining.RequestRetraining, request)).job)

    async def lease_job(
        self,
        model: str = "",
        *,
        holder: str,
        lease: timedelta | None = None,
        queue: str = "",
        labels: Mapping[str, str] | None = None,
        wait: timedelta = timedelta(0),
    ) -> Job:
        """Take the job of a due model; nobody else gets it while the lease holds.

        Args:
            model: empty for the oldest job that is free, or else that of the model that is due the longest.
            holder: who takes it, as `"trainer-7"`.
            lease: how long it holds without a heartbeat, from a second to a day; ten minutes when it is left out.
            queue: only a job of this queue; of any when it is empty.
            labels: only a job that has all of these.
            wait: how long to wait for a job, up to five minutes.

        Raises:
            NotDue: the model is not due or its job waits after a failure; without a model, nothing is to be had.
            JobAlreadyLeased: somebody holds the model's job.
            ModelNotFound: there is no such model.
        """
        request = pb.LeaseJobRequest(
            model=model,
            holder=holder,
            lease=span_to_proto(lease),
            queue=queue,
            labels=labels or {},
            wait=span_to_proto(wait),
        )
        timeout = self._timeout + wait.total_seconds()
        return job_from_proto((await self._call(self._retraining.LeaseJob, request, timeout)).job)

    async def lease_jobs(
        self,
        *,
        holder: str,
        max_jobs: int,
        lease: timedelta | None = None,
        queue: str = "",
        labels: Mapping[str, str] | None = None,
        wait: timedelta = timedelta(0),
    ) -> list[Job]:
        """Take several jobs at once, the oldest first, as for handing them on to many machines.

        Args:
            holder: who takes them; each is then kept and ended by itself.
            max_jobs: how many at the most, from 1 to 100.
            lease, queue, labels, wait: as for `lease_job`; the wait is for the first job.

        Raises:
            NotDue: nothing is to be had.
        """
        request = pb.LeaseJobsRequest(
            holder=holder,
            max_jobs=max_jobs,
            lease=span_to_proto(lease),
            queue=queue,
            labels=labels or {},
            wait=span_to_proto(wait),
        )
        timeout = self._timeout + wait.total_seconds()
        return list(map(job_from_proto, (await self._call(self._retraining.LeaseJobs, request, timeout)).jobs))

    async def heartbeat_job(
        self, job: Job, *, lease: timedelta | None = None, progress: float | None = None, message: str = ""
    ) -> Job:
        """Say that the worker is alive: the lease then holds from now on.

        Args:
            job: as `lease_job` returned it.
            lease: how long from now on; as long as it was leased for when it is left out.
            progress: how far the work is, from 0 to 1; as before when it is left out.
            message: what is being done; as before when it is empty.

        Raises:
            JobNotHeld: the lease has run out, or the job has ended.
        """
        request = pb.HeartbeatJobRequest(
            job_id=job.job_id,
            holder=job.holder,
            attempt=job.attempt,
            fence=job.fence,
            lease=span_to_proto(lease),
            progress=progress,
            message=message,
        )
        return job_from_proto((await self._call(self._retraining.HeartbeatJob, request)).job)

    async def complete_job(
        self,
        job: Job,
        successor: AnyVersion | int,
        *,
        evaluation: tuple[Any, Any] | str | None = None,
        log: str = "",
    ) -> Job:
        """End a job with the version that came of it, which is registered already.

        Args:
            job: as `lease_job` returned it.
            successor: a version of the job's model, or only its number.
            evaluation: the test set on which the model's policy compares the version with the one in production:
                features and truth as `compare` takes them, or the URI of Parquet with the policy's label; the policy's
                own test set when it is left out.
            log: what the work printed, which MLflow then shows with the version's run; only its end, when it is long.

        Raises:
            JobNotHeld: the lease has run out, or the job has ended.
            JobHasVersion: another version was registered for the job.
            VersionNotFound: the model has no such version.
            InvalidField: it is a version of another model, or older than the job.
        """
        request = pb.CompleteJobRequest(
            job_id=job.job_id,
            holder=job.holder,
            attempt=job.attempt,
            fence=job.fence,
            successor=successor_number(job, successor),
            log=end_of(log),
        )
        if isinstance(evaluation, str):
            request.evaluation.uri = evaluation
        elif evaluation is not None:
            put_labelled(request.evaluation, request, *evaluation)
        return job_from_proto((await self._call(self._retraining.CompleteJob, request)).job)

    async def fail_job(self, job: Job, reason: str, *, give_up: bool = False, release: bool = False) -> Job:
        """End an attempt without success; the job waits for the next one, or has failed for good.

        Args:
            job: as `lease_job` returned it.
            reason: what went wrong.
            give_up: whether to try no more, though attempts are left.
            release: whether the job is only given back: another may take it at once, and the attempt does not count.

        Raises:
            JobNotHeld: the lease has run out, or the job has ended.
        """
        request = pb.FailJobRequest(
            job_id=job.job_id,
            holder=job.holder,
            attempt=job.attempt,
            fence=job.fence,
            reason=reason,
            give_up=give_up,
            release=release,
        )
        return job_from_proto((await self._call(self._retraining.FailJob, request)).job)

    async def retry_job(self, job: Job | str) -> Job:
        """Let a job that failed for good be tried again.

        Args:
            job: the job, or its id.

        Raises:
            JobNotFound: there is none of that id.
            JobNotRetryable: it did not fail for good, or the model has a newer job.
        """
        request = pb.RetryJobRequest(job_id=job if isinstance(job, str) else job.job_id)
        return job_from_proto((await self._call(self._retraining.RetryJob, request)).job)

    async def get_job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            JobNotFound: there is none of that id.
        """
        return job_from_proto((await self._call(self._retraining.GetJob, pb.GetJobRequest(job_id=job_id))).job)

    async def list_jobs(
        self, model: str = "", *, states: Sequence[JobState | str] = (), queue: str = ""
    ) -> AsyncIterator[Job]:
        """Iterate over the jobs of one model, or of all, the newest first.

        Args:
            states: only jobs in one of these; all when it is empty.
            queue: only jobs of this one; of all when it is empty.

        Raises:
            ModelNotFound: there is no such model.
        """
        wanted = [job_state_to_proto(as_job_state(state)) for state in states]
        request = pb.ListJobsRequest(model=model, states=wanted, queue=queue, page_size=PAGE_SIZE)
        async for page in self._pages(self._retraining.ListJobs, request):
            for job in page.jobs:
                yield job_from_proto(job)

    async def get_retraining_policy(self, model: str) -> RetrainingPolicy:
        """Return what a model's jobs are made with and what follows them; the defaults when nobody said.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.GetRetrainingPolicyRequest(model=model)
        return retraining_policy_from_proto((await self._call(self._retraining.GetRetrainingPolicy, request)).policy)

    async def set_retraining_policy(self, policy: RetrainingPolicy) -> RetrainingPolicy:
        """Replace a model's retraining policy, and return it with its new etag.

        Raises:
            ModelNotFound: there is no such model.
            EtagMismatch: it changed since the policy's etag was read.
            InvalidField: a part of it makes no sense.
        """
        request = pb.SetRetrainingPolicyRequest(policy=retraining_policy_to_proto(policy))
        return retraining_policy_from_proto((await self._call(self._retraining.SetRetrainingPolicy, request)).policy)

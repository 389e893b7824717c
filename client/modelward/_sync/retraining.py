# Derived from modelward/_async/retraining.py by client/unasync.py: change that one.
"""Client methods for retraining: due models and jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from modelward._coerce import AnyVersion, as_job_state, successor_number
from modelward._sync.connection import Connection
from modelward._training_table import end_of, put_labelled
from modelward.paging import Pager
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


class Retraining(Connection):
    """Due models and retraining jobs."""

    def list_due(self, model: str = "") -> Pager[DueModel]:
        """List the models that are due, the longest due first, with every reason.

        Args:
            model: only this model; all when empty.

        Returns:
            The due models; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListDueModelsRequest(model=model, page_size=PAGE_SIZE)
        return self._list(self._retraining.ListDueModels, request, "due_models", due_model_from_proto)

    def request_retraining(
        self,
        model: str,
        *,
        reason: str = "",
        queue: str = "",
        labels: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        data_from: datetime | None = None,
        data_until: datetime | None = None,
        dry_run: bool = False,
        request_id: str = "",
    ) -> Job:
        """Request the retraining of a model.

        Args:
            model: the model's name.
            reason: the reason, for the audit log.
            queue: the job's queue; that of the model's retraining policy when empty.
            labels: labels for the selection by workers, in addition to the policy's.
            parameters: training parameters as text, in addition to the policy's and overriding them.
            data_from: start of the training data; from the policy's window by default.
            data_until: end of the training data; now by default.
            dry_run: change nothing, and only return what the request would.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The model's open job, which is new or has an additional reason.

        Raises:
            ModelNotFound: there is no such model.
            InvalidField: the data end before they start.
        """
        request = pb.RequestRetrainingRequest(
            model=model,
            reason=reason,
            queue=queue,
            labels=labels or {},
            parameters=parameters or {},
            data_from=time_to_proto(data_from),
            data_until=time_to_proto(data_until),
            dry_run=dry_run,
            request_id=request_id,
        )
        return job_from_proto((self._call(self._retraining.RequestRetraining, request)).job)

    def lease_job(
        self,
        model: str = "",
        *,
        holder: str,
        lease: timedelta | None = None,
        queue: str = "",
        labels: Mapping[str, str] | None = None,
        wait: timedelta = timedelta(0),
    ) -> Job:
        """Lease the job of a due model; nobody else gets it while the lease is valid.

        Args:
            model: when empty, the oldest free job, or else that of the model that has been due the longest.
            holder: the name of the worker, such as `"trainer-7"`.
            lease: its duration without a heartbeat, from a second to a day; ten minutes by default.
            queue: only a job of this queue; any when empty.
            labels: only a job with all of these labels.
            wait: how long to wait for a job, up to five minutes.

        Returns:
            The leased job; pass it to `register`, `heartbeat_job`, `complete_job` and `fail_job`.

        Raises:
            NotDue: the model is not due or its job waits after a failure; without a model, no job is available.
            JobAlreadyLeased: another worker holds the model's job.
            ModelNotFound: there is no such model.

        Examples:
            >>> requested = mw.request_retraining("spx-trend", reason="new data vendor", parameters={"C": "0.5"})
            >>> job = mw.lease_job("spx-trend", holder="trainer-7")
            >>> model.set_params(C=float(job.parameters["C"]))
            LogisticRegression(C=0.5)
            >>> version = mw.register(job.model, model, job=job)
            >>> print((mw.complete_job(job, version)).state)
            succeeded
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
        return job_from_proto((self._call(self._retraining.LeaseJob, request, timeout)).job)

    def lease_jobs(
        self,
        *,
        holder: str,
        max_jobs: int,
        lease: timedelta | None = None,
        queue: str = "",
        labels: Mapping[str, str] | None = None,
        wait: timedelta = timedelta(0),
    ) -> list[Job]:
        """Lease several jobs at once, the oldest first, for example to distribute them to many machines.

        Args:
            holder: the name of the worker; each job has its own lease and is completed separately.
            max_jobs: maximum number of jobs, from 1 to 100.
            lease: its duration without a heartbeat, from a second to a day; ten minutes by default.
            queue: only jobs of this queue; any when empty.
            labels: only jobs with all of these labels.
            wait: how long to wait for the first job, up to five minutes.

        Returns:
            The leased jobs, at least one.

        Raises:
            NotDue: no job is available.
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
        return list(map(job_from_proto, (self._call(self._retraining.LeaseJobs, request, timeout)).jobs))

    def heartbeat_job(
        self, job: Job, *, lease: timedelta | None = None, progress: float | None = None, message: str = ""
    ) -> Job:
        """Send a heartbeat, which extends the lease from now on.

        Args:
            job: as returned by `lease_job`.
            lease: the duration from now on; that of the original lease by default.
            progress: the progress of the work, from 0 to 1; unchanged by default.
            message: the current step; unchanged when empty.

        Returns:
            The job with its new expiry.

        Raises:
            JobNotHeld: the lease has expired, or the job has ended.
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
        return job_from_proto((self._call(self._retraining.HeartbeatJob, request)).job)

    def complete_job(
        self,
        job: Job,
        successor: AnyVersion | int,
        *,
        evaluation: tuple[Any, Any] | str | None = None,
        log: str = "",
    ) -> Job:
        """Complete a job with the version that it produced, which is already registered.

        Args:
            job: as returned by `lease_job`.
            successor: a version of the job's model, or only its number.
            evaluation: the test set on which the model's policy compares the version with the one in production:
                features and labels as for `compare`, or the URI of Parquet with the policy's label; the policy's own
                test set by default.
            log: the output of the work, which MLflow then shows with the version's run; truncated to its end.

        Returns:
            The job, which has succeeded.

        Raises:
            JobNotHeld: the lease has expired, or the job has ended.
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
        return job_from_proto((self._call(self._retraining.CompleteJob, request)).job)

    def fail_job(self, job: Job, reason: str, *, give_up: bool = False, release: bool = False) -> Job:
        """Report a failed attempt; the job waits for the next one, or has failed permanently.

        Args:
            job: as returned by `lease_job`.
            reason: what went wrong.
            give_up: whether to stop retrying, even if attempts are left.
            release: whether to only return the job: another worker may take it at once, and the attempt does not count.

        Returns:
            The job in its new state.

        Raises:
            JobNotHeld: the lease has expired, or the job has ended.
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
        return job_from_proto((self._call(self._retraining.FailJob, request)).job)

    def retry_job(self, job: Job | str) -> Job:
        """Retry a job that failed permanently.

        Args:
            job: the job, or its id.

        Returns:
            The job, which is pending again.

        Raises:
            JobNotFound: there is no job with this id.
            JobNotRetryable: it has not failed permanently, or the model has a newer job.
        """
        request = pb.RetryJobRequest(job_id=job if isinstance(job, str) else job.job_id)
        return job_from_proto((self._call(self._retraining.RetryJob, request)).job)

    def get_job(self, job_id: str) -> Job:
        """Return a job.

        Args:
            job_id: the job's id.

        Returns:
            The job as it is now.

        Raises:
            JobNotFound: there is no job with this id.
        """
        return job_from_proto((self._call(self._retraining.GetJob, pb.GetJobRequest(job_id=job_id))).job)

    def list_jobs(self, model: str = "", *, states: Sequence[JobState | str] = (), queue: str = "") -> Pager[Job]:
        """List the jobs of one model, or of all, the newest first.

        Args:
            model: only jobs of this model; all when empty.
            states: only jobs in one of these; all when empty.
            queue: only jobs of this queue; all when empty.

        Returns:
            The jobs; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        wanted = [job_state_to_proto(as_job_state(state)) for state in states]
        request = pb.ListJobsRequest(model=model, states=wanted, queue=queue, page_size=PAGE_SIZE)
        return self._list(self._retraining.ListJobs, request, "jobs", job_from_proto)

    def get_retraining_policy(self, model: str) -> RetrainingPolicy:
        """Return a model's retraining policy; the defaults when none was set.

        Args:
            model: the model's name.

        Returns:
            The policy.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.GetRetrainingPolicyRequest(model=model)
        return retraining_policy_from_proto((self._call(self._retraining.GetRetrainingPolicy, request)).policy)

    def set_retraining_policy(self, policy: RetrainingPolicy) -> RetrainingPolicy:
        """Replace a model's retraining policy.

        Args:
            policy: the whole policy; an empty `etag` replaces whatever is there.

        Returns:
            The policy, with its new etag.

        Raises:
            ModelNotFound: there is no such model.
            EtagMismatch: it changed since the policy's etag was read.
            InvalidField: a part of it is invalid.
        """
        request = pb.SetRetrainingPolicyRequest(policy=retraining_policy_to_proto(policy))
        return retraining_policy_from_proto((self._call(self._retraining.SetRetrainingPolicy, request)).policy)

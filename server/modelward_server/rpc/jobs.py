"""The retraining service's calls about jobs: convert, call, convert."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message
from sqlalchemy.orm import Session

from modelward.retraining import RetrainingPolicy
from modelward.shared.convert.common import span_from_proto
from modelward.shared.convert.retraining import (
    job_state_from_proto,
    job_to_proto,
    retraining_policy_from_proto,
    retraining_policy_to_proto,
)
from modelward.v1 import retraining_pb2 as pb
from modelward.v1.common_pb2 import Dataset
from modelward.v1.retraining_pb2_grpc import RetrainingServiceServicer
from modelward_server.actor_context import ActorContext
from modelward_server.retraining import jobs, policies
from modelward_server.retraining.evaluation_windows import check_window, prepare_window
from modelward_server.retraining.job_dispatch import NOT_SEARCHED, JobCandidates, find_candidates, lease_job, lease_jobs
from modelward_server.retraining.job_queries import JobQuery, JobSpec
from modelward_server.retraining.job_states import DEFAULT_LEASE, LeaseClaim
from modelward_server.retraining.job_waiters import JobWaiters
from modelward_server.retraining.post_training_task import PostTraining
from modelward_server.rpc.datasets import is_parquet, parquet_pieces
from modelward_server.rpc.idempotency import Answer, Context, RequestUnitOfWork
from modelward_server.rpc.requests import optional_time
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.paging import visible_prefixes
from modelward_server.storage.parquet import columns_of
from modelward_server.storage.sources import Sources


class JobServicer(RetrainingServiceServicer):
    """Methods for jobs, from request to end, and for retraining policies."""

    _unit_of_work: RequestUnitOfWork
    _blobs: BlobStore
    _sources: Sources
    _job_waiters: JobWaiters
    _post_training: PostTraining

    async def RequestRetraining(
        self, request: pb.RequestRetrainingRequest, context: Context
    ) -> pb.RequestRetrainingResponse:
        order = JobSpec(
            request.queue,
            dict(request.labels),
            dict(request.parameters),
            optional_time(request, "data_from"),
            optional_time(request, "data_until"),
        )
        now = datetime.now(UTC)
        await self._unit_of_work.analyse(lambda session: prepare_window(session, request.model, now))
        run = self._unit_of_work.dry_run if request.dry_run else self._unit_of_work.run_idempotent
        answer = await run(
            request,
            context,
            lambda session, actor: pb.RequestRetrainingResponse(
                job=job_to_proto(jobs.request_retraining(session, request.model, request.reason, actor, order))
            ),
        )
        if not request.dry_run:
            self._job_waiters.wake()
        return answer

    async def LeaseJob(self, request: pb.LeaseJobRequest, context: Context) -> pb.LeaseJobResponse:
        query = JobQuery(request.model, request.queue, dict(request.labels), visible_prefixes())
        return await self._lease(
            request,
            context,
            query,
            1,
            lambda session, actor, duration, candidates: pb.LeaseJobResponse(
                job=job_to_proto(lease_job(session, query, request.holder, duration, actor, candidates))
            ),
        )

    async def LeaseJobs(self, request: pb.LeaseJobsRequest, context: Context) -> pb.LeaseJobsResponse:
        query = JobQuery("", request.queue, dict(request.labels), visible_prefixes())
        return await self._lease(
            request,
            context,
            query,
            request.max_jobs,
            lambda session, actor, duration, candidates: pb.LeaseJobsResponse(
                jobs=map(
                    job_to_proto,
                    lease_jobs(session, query, request.max_jobs, request.holder, duration, actor, candidates),
                )
            ),
        )

    async def _lease(
        self,
        request: pb.LeaseJobRequest | pb.LeaseJobsRequest,
        context: Context,
        query: JobQuery,
        max_jobs: int,
        leased: Callable[[Session, ActorContext, timedelta, JobCandidates], Answer],
    ) -> Answer:
        """Lease now, or as soon as there is a job within the request's waiting time."""
        duration = optional_duration(request, "lease") or DEFAULT_LEASE

        async def lease() -> Answer:
            return await self._unit_of_work.run_idempotent_prepared(
                request,
                context,
                lambda session: find_candidates(session, query, max_jobs, datetime.now(UTC)),
                lambda session, actor, candidates: leased(session, actor, duration, candidates),
                at_first=[] if query.model else [NOT_SEARCHED],
            )

        return await self._job_waiters.lease(query, lease, span_from_proto(request.wait).total_seconds())

    async def HeartbeatJob(self, request: pb.HeartbeatJobRequest, context: Context) -> pb.HeartbeatJobResponse:
        duration = optional_duration(request, "lease")
        progress = request.progress if request.HasField("progress") else None
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.HeartbeatJobResponse(
                job=job_to_proto(
                    jobs.heartbeat_job(
                        session, request.job_id, holding(request), duration, actor, progress, request.message
                    )
                )
            ),
        )

    async def CompleteJob(self, request: pb.CompleteJobRequest, context: Context) -> pb.CompleteJobResponse:
        log = (
            await self._unit_of_work.executors.files.run(self._blobs.put_bytes, request.log.encode())
            if request.log
            else ""
        )
        evaluation = request.evaluation.SerializeToString() if request.HasField("evaluation") else None
        result = jobs.Result(request.successor, evaluation, request.label, log)
        answer = await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.CompleteJobResponse(
                job=job_to_proto(jobs.complete_job(session, request.job_id, holding(request), result, actor))
            ),
        )
        self._post_training.wake()
        return answer

    async def FailJob(self, request: pb.FailJobRequest, context: Context) -> pb.FailJobResponse:
        answer = await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.FailJobResponse(
                job=job_to_proto(
                    jobs.fail_job(
                        session,
                        request.job_id,
                        holding(request),
                        request.reason,
                        request.give_up,
                        actor,
                        request.release,
                    )
                )
            ),
        )
        self._job_waiters.wake()
        return answer

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:
        answer = await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.RetryJobResponse(
                job=job_to_proto(jobs.retry_job(session, request.job_id, actor))
            ),
        )
        self._job_waiters.wake()
        return answer

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        now = datetime.now(UTC)
        return pb.GetJobResponse(
            job=job_to_proto(await self._unit_of_work.read(lambda session: jobs.get_job(session, request.job_id, now)))
        )

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        now = datetime.now(UTC)
        states = [state for value in request.states if (state := job_state_from_proto(value))]
        page = await self._unit_of_work.read(
            lambda session: jobs.list_jobs(
                session, request.model, states, request.page_size, request.page_token, now, request.queue
            )
        )
        return pb.ListJobsResponse(jobs=map(job_to_proto, page.items), next_page_token=page.next_page_token)

    async def GetRetrainingPolicy(
        self, request: pb.GetRetrainingPolicyRequest, context: Context
    ) -> pb.GetRetrainingPolicyResponse:
        policy = await self._unit_of_work.read(lambda session: policies.get_retraining_policy(session, request.model))
        return pb.GetRetrainingPolicyResponse(policy=retraining_policy_to_proto(policy))

    async def SetRetrainingPolicy(
        self, request: pb.SetRetrainingPolicyRequest, context: Context
    ) -> pb.SetRetrainingPolicyResponse:
        policy = retraining_policy_from_proto(request.policy)
        await self._check_test_set(policy)
        if policy.evaluation_window:
            await self._unit_of_work.executors.compute.run(check_window, policy.evaluation_window, datetime.now(UTC))
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.SetRetrainingPolicyResponse(
                policy=retraining_policy_to_proto(policies.set_retraining_policy(session, policy, actor))
            ),
        )

    async def _check_test_set(self, policy: RetrainingPolicy) -> None:
        """Check that the test set may be read and, if it is Parquet that other machines can read, has the columns."""
        if not policy.evaluation_uri:
            return
        self._sources.check(policy.evaluation_uri)
        if is_parquet(Dataset(uri=policy.evaluation_uri)):
            field, executor = "policy.evaluation_uri", self._unit_of_work.executors.remote
            found = await executor.run(parquet_pieces, policy.evaluation_uri, field, self._sources)
            policies.check_columns(policy, columns_of(found))


def holding(request: pb.HeartbeatJobRequest | pb.CompleteJobRequest | pb.FailJobRequest) -> LeaseClaim:
    """Return the lease by which a request claims to hold the job."""
    return LeaseClaim(request.holder, request.attempt, request.fence)


def optional_duration(request: Message, field: str) -> timedelta | None:
    """Return a duration that a request may omit."""
    return span_from_proto(getattr(request, field)) if request.HasField(field) else None

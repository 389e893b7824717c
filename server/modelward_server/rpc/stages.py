"""The registry's methods for stages: transitions, halts, policies, and resolution of versions."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from modelward.lifecycle import Stage, VersionRef
from modelward.shared.blank import is_blank
from modelward.shared.convert.common import ref_from_proto
from modelward.shared.convert.events import production_version_to_proto
from modelward.shared.convert.lifecycle import (
    halt_result_to_proto,
    model_to_proto,
    rollback_result_to_proto,
    transition_result_to_proto,
    transition_to_proto,
    version_to_proto,
)
from modelward.shared.convert.policy import policy_from_proto, policy_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceServicer
from modelward_server.governance.promotion_evidence import GatheredEvidence, gather
from modelward_server.lifecycle import halts, policies, promotion, transition_queries
from modelward_server.lifecycle.deletion import delete_artifact
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.rpc.answer_cache import AnswerCache
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.requests import optional_time, stages_of
from modelward_server.rpc.resolve_cache import Resolver
from modelward_server.security.trusted_signers import TrustedSigners


class StageServicer(LifecycleServiceServicer):
    """Methods for the stages of versions and their history."""

    _unit_of_work: RequestUnitOfWork
    _answers: AnswerCache
    _trials: TrialTask
    _resolver: Resolver
    _signers: TrustedSigners

    async def TransitionModelVersion(
        self, request: pb.TransitionModelVersionRequest, context: Context
    ) -> pb.TransitionModelVersionResponse:
        [to], ref = stages_of([request.to]), ref_from_proto(request.version)
        if to is Stage.PRODUCTION:
            await self._check_reason(ref.model, request)
            await self._trials.wait_within(ref, context)
        return await self._unit_of_work.run_idempotent_prepared(
            request,
            context,
            lambda session: gather(self._signers, session, ref),
            lambda session, actor, evidence: transition_result_to_proto(
                promotion.transition(
                    session, ref, to, request.reason, request.etag, actor, evidence, request.model_etag
                )
            ),
            at_first=[GatheredEvidence(ref)],
            dry_run=request.dry_run,
        )

    async def ResolveModel(self, request: pb.ResolveModelRequest, context: Context) -> pb.ResolveModelResponse:
        return await self._resolver.resolve(request)

    async def ListTransitions(self, request: pb.ListTransitionsRequest, context: Context) -> pb.ListTransitionsResponse:
        def listed(session: Session) -> pb.ListTransitionsResponse:
            page = transition_queries.list_transitions(
                session,
                VersionRef(request.model, request.version),
                optional_time(request, "moved_after"),
                optional_time(request, "moved_before"),
                request.page_size,
                request.page_token,
            )
            return pb.ListTransitionsResponse(
                transitions=map(transition_to_proto, page.items), next_page_token=page.next_page_token
            )

        return await self._answers.read(request, listed)

    async def ListProductionVersions(
        self, request: pb.ListProductionVersionsRequest, context: Context
    ) -> pb.ListProductionVersionsResponse:
        as_of, now = optional_time(request, "as_of"), datetime.now(UTC)
        page = await self._unit_of_work.read(
            lambda session: transition_queries.list_production_versions(
                session, as_of, request.name_prefix, request.page_size, request.page_token, now
            )
        )
        return pb.ListProductionVersionsResponse(
            production_versions=map(production_version_to_proto, page.items), next_page_token=page.next_page_token
        )

    async def RollbackModel(self, request: pb.RollbackModelRequest, context: Context) -> pb.RollbackModelResponse:
        await self._check_reason(request.model, request)
        run = self._unit_of_work.dry_run if request.dry_run else self._unit_of_work.run_idempotent
        return await run(
            request,
            context,
            lambda session, actor: rollback_result_to_proto(
                promotion.rollback(session, request.model, request.reason, request.etag, actor)
            ),
            urgent=True,
        )

    async def _check_reason(
        self, model: str, request: pb.TransitionModelVersionRequest | pb.RollbackModelRequest
    ) -> None:
        """Require the reason of a change of production; of a dry run, which comes first, none.

        Raises:
            ModelNotFound: the model does not exist.
            InvalidField: it is blank.
        """
        if not request.dry_run and is_blank(request.reason):
            await self._unit_of_work.read(lambda session: policies.check_reason(session, model, request.reason))

    async def HaltModel(self, request: pb.HaltModelRequest, context: Context) -> pb.HaltModelResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.HaltModelResponse(
                model=model_to_proto(halts.halt_model(session, request.model, request.reason, actor))
            ),
            urgent=True,
        )

    async def HaltModels(self, request: pb.HaltModelsRequest, context: Context) -> pb.HaltModelsResponse:
        run = self._unit_of_work.dry_run if request.dry_run else self._unit_of_work.run_idempotent
        return await run(
            request,
            context,
            lambda session, actor: halt_result_to_proto(
                halts.halt_models(session, request.name_prefix, request.tags, request.reason, actor)
            ),
            urgent=True,
        )

    async def ResumeModel(self, request: pb.ResumeModelRequest, context: Context) -> pb.ResumeModelResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.ResumeModelResponse(
                model=model_to_proto(halts.resume_model(session, request.model, request.reason, request.etag, actor))
            ),
            urgent=True,
        )

    async def DeleteArtifact(self, request: pb.DeleteArtifactRequest, context: Context) -> pb.DeleteArtifactResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.DeleteArtifactResponse(
                version=version_to_proto(
                    delete_artifact(session, ref_from_proto(request.version), request.reason, request.etag, actor)
                )
            ),
        )

    async def GetPromotionPolicy(
        self, request: pb.GetPromotionPolicyRequest, context: Context
    ) -> pb.GetPromotionPolicyResponse:
        policy = await self._unit_of_work.read(lambda session: policies.get_policy(session, request.model))
        return pb.GetPromotionPolicyResponse(policy=policy_to_proto(policy))

    async def SetPromotionPolicy(
        self, request: pb.SetPromotionPolicyRequest, context: Context
    ) -> pb.SetPromotionPolicyResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.SetPromotionPolicyResponse(
                policy=policy_to_proto(policies.set_policy(session, policy_from_proto(request.policy), actor))
            ),
        )

"""The comparison service's methods for A/B tests."""

from __future__ import annotations

from functools import partial

from modelward.abtest import AbAction
from modelward.assignment import assign
from modelward.shared.convert.abtest import (
    ab_outcome_from_proto,
    ab_result_to_proto,
    ab_test_from_proto,
    ab_test_to_proto,
    action_from_proto,
    assignment_to_proto,
    recorded_to_proto,
    state_from_proto,
)
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.comparison_pb2_grpc import ComparisonServiceServicer
from modelward_server.abtest.conclude import (
    ConclusionRequest,
    check_conclusion_reason,
    conclude_ab_test,
    prepare_conclusion,
)
from modelward_server.abtest.outcomes import assign_outcomes, get_ab_result, record_ab_outcomes
from modelward_server.abtest.repository import create_ab_test, get_ab_test, list_ab_tests
from modelward_server.governance.promotion_evidence import gather
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.security.trusted_signers import TrustedSigners


class AbTestServicer(ComparisonServiceServicer):
    """Methods for A/B tests of versions on live traffic."""

    _unit_of_work: RequestUnitOfWork
    _trials: TrialTask
    _signers: TrustedSigners

    async def CreateAbTest(self, request: pb.CreateAbTestRequest, context: Context) -> pb.CreateAbTestResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.CreateAbTestResponse(
                ab_test=ab_test_to_proto(create_ab_test(session, ab_test_from_proto(request.ab_test), actor))
            ),
        )

    async def GetAbTest(self, request: pb.GetAbTestRequest, context: Context) -> pb.GetAbTestResponse:
        test = await self._unit_of_work.read(lambda session: get_ab_test(session, request.test))
        return pb.GetAbTestResponse(ab_test=ab_test_to_proto(test))

    async def ListAbTests(self, request: pb.ListAbTestsRequest, context: Context) -> pb.ListAbTestsResponse:
        state = state_from_proto(request.state)
        page = await self._unit_of_work.read(
            lambda session: list_ab_tests(session, request.model, state, request.page_size, request.page_token)
        )
        return pb.ListAbTestsResponse(ab_tests=map(ab_test_to_proto, page.items), next_page_token=page.next_page_token)

    async def AssignVariant(self, request: pb.AssignVariantRequest, context: Context) -> pb.AssignVariantResponse:
        test = await self._unit_of_work.read(lambda session: get_ab_test(session, request.test))
        return assignment_to_proto(assign(test, request.unit))

    async def RecordAbOutcomes(
        self, request: pb.RecordAbOutcomesRequest, context: Context
    ) -> pb.RecordAbOutcomesResponse:
        outcomes = [ab_outcome_from_proto(outcome) for outcome in request.outcomes]
        return await self._unit_of_work.run_idempotent_prepared(
            request,
            context,
            lambda session: assign_outcomes(session, request.test, outcomes),
            lambda session, actor, dealt: recorded_to_proto(record_ab_outcomes(session, dealt, actor)),
        )

    async def GetAbTestResult(self, request: pb.GetAbTestResultRequest, context: Context) -> pb.GetAbTestResultResponse:
        result = await self._unit_of_work.analyse(lambda session: get_ab_result(session, request.test))
        return pb.GetAbTestResultResponse(result=ab_result_to_proto(result))

    async def ConcludeAbTest(self, request: pb.ConcludeAbTestRequest, context: Context) -> pb.ConcludeAbTestResponse:
        conclusion = ConclusionRequest(
            request.test,
            request.winner,
            action_from_proto(request.action),
            request.reason,
            expected_etag=request.etag,
            expected_model_etag=request.model_etag,
        )
        if conclusion.action is not AbAction.ROLL_BACK:
            test = await self._unit_of_work.read(lambda session: get_ab_test(session, request.test))
            for variant in test.variants:
                await self._trials.wait_within(variant.version, context)
        if not request.dry_run:
            await self._unit_of_work.read(lambda session: check_conclusion_reason(session, conclusion))
        return await self._unit_of_work.run_idempotent_prepared(
            request,
            context,
            lambda session: prepare_conclusion(session, conclusion, partial(gather, self._signers)),
            lambda session, actor, prepared: pb.ConcludeAbTestResponse(
                ab_test=ab_test_to_proto(conclude_ab_test(session, conclusion, prepared, actor))
            ),
            dry_run=request.dry_run,
        )

"""The servicer of the governance service: convert, call, convert."""

from datetime import UTC, datetime

from modelward.governance import Approval
from modelward.lifecycle import Stage, VersionRef
from modelward.shared.convert.common import ref_from_proto, stage_from_proto
from modelward.shared.convert.governance import approval_state_from_proto, approval_to_proto
from modelward.v1 import governance_pb2 as pb
from modelward_server.evidence.export import EvidenceExport
from modelward_server.lifecycle import approvals
from modelward_server.reports.inventory.report import InventoryReports
from modelward_server.rpc.drills import DrillServicer
from modelward_server.rpc.evidence import MAX_EXPORTS, MAX_EXPORTS_OF_CLIENT, EvidenceServicer
from modelward_server.rpc.evidence_import import EvidenceImport
from modelward_server.rpc.findings import FindingServicer
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.report_servicer import InventoryRendering
from modelward_server.rpc.requests import optional_time
from modelward_server.rpc.reviews import ReviewServicer
from modelward_server.runtime.admission import Admission


class GovernanceServicer(FindingServicer, ReviewServicer, DrillServicer, EvidenceServicer, InventoryRendering):
    """Serves `modelward.v1.GovernanceService`."""

    def __init__(
        self,
        unit_of_work: RequestUnitOfWork,
        evidence: EvidenceExport,
        imports: EvidenceImport,
        inventory_reports: InventoryReports,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._evidence = evidence
        self._imports = imports
        self._inventory_reports = inventory_reports
        self._exports = Admission("exports of evidence", "evidence_exports", MAX_EXPORTS, MAX_EXPORTS_OF_CLIENT)

    async def RequestApproval(self, request: pb.RequestApprovalRequest, context: Context) -> pb.RequestApprovalResponse:
        wanted = _wanted(request)
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.RequestApprovalResponse(
                approval=approval_to_proto(approvals.request_approval(session, wanted, actor))
            ),
        )

    async def DecideApproval(self, request: pb.DecideApprovalRequest, context: Context) -> pb.DecideApprovalResponse:
        decision = request.approval_id, request.function, request.approve, request.comment, request.etag
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.DecideApprovalResponse(
                approval=approval_to_proto(approvals.decide_approval(session, *decision, actor))
            ),
        )

    async def WithdrawApproval(
        self, request: pb.WithdrawApprovalRequest, context: Context
    ) -> pb.WithdrawApprovalResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.WithdrawApprovalResponse(
                approval=approval_to_proto(
                    approvals.withdraw_approval(session, request.approval_id, request.etag, actor)
                )
            ),
        )

    async def GetApproval(self, request: pb.GetApprovalRequest, context: Context) -> pb.GetApprovalResponse:
        now = datetime.now(UTC)
        found = await self._unit_of_work.read(lambda session: approvals.get_approval(session, request.approval_id, now))
        return pb.GetApprovalResponse(approval=approval_to_proto(found))

    async def ListApprovals(self, request: pb.ListApprovalsRequest, context: Context) -> pb.ListApprovalsResponse:
        now, state = datetime.now(UTC), approval_state_from_proto(request.state)
        of = VersionRef(request.model, request.version)
        page = await self._unit_of_work.read(
            lambda session: approvals.list_approvals(
                session, of, state, request.waits_for, request.page_size, request.page_token, now
            )
        )
        return pb.ListApprovalsResponse(
            approvals=map(approval_to_proto, page.items), next_page_token=page.next_page_token
        )


def _wanted(request: pb.RequestApprovalRequest) -> Approval:
    """Return a request as its author sent it; the server sets the other fields."""
    return Approval(
        approval_id="",
        version=ref_from_proto(request.version),
        digest="",
        to=stage_from_proto(request.to) or Stage.PRODUCTION,
        reason=request.reason,
        functions=(),
        requested_by="",
        requested_at=datetime.now(UTC),
        conditions=tuple(request.conditions),
        evidence=tuple(request.evidence),
        expires_at=optional_time(request, "expires_at"),
    )

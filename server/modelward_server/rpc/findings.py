"""The governance service's methods for findings: convert, call, convert."""

from datetime import UTC, datetime

from modelward.findings import Finding, FindingSeverity
from modelward.shared.convert.findings import (
    day_from_proto,
    finding_state_from_proto,
    finding_to_proto,
    severity_from_proto,
)
from modelward.v1 import governance_pb2 as pb
from modelward.v1.governance_pb2_grpc import GovernanceServiceServicer
from modelward_server.lifecycle import findings
from modelward_server.lifecycle.findings import FindingChange, FindingFilter
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork


class FindingServicer(GovernanceServiceServicer):
    """Methods that open, change, close and list findings."""

    _unit_of_work: RequestUnitOfWork

    async def OpenFinding(self, request: pb.OpenFindingRequest, context: Context) -> pb.OpenFindingResponse:
        wanted = _wanted(request)
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.OpenFindingResponse(
                finding=finding_to_proto(findings.open_finding(session, wanted, actor))
            ),
        )

    async def UpdateFinding(self, request: pb.UpdateFindingRequest, context: Context) -> pb.UpdateFindingResponse:
        change = _change(request)
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.UpdateFindingResponse(
                finding=finding_to_proto(
                    findings.update_finding(session, request.finding_id, change, request.etag, actor)
                )
            ),
        )

    async def CloseFinding(self, request: pb.CloseFindingRequest, context: Context) -> pb.CloseFindingResponse:
        closing = request.finding_id, request.remedy, request.comment, request.etag
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.CloseFindingResponse(
                finding=finding_to_proto(findings.close_finding(session, *closing, actor))
            ),
        )

    async def GetFinding(self, request: pb.GetFindingRequest, context: Context) -> pb.GetFindingResponse:
        found = await self._unit_of_work.read(lambda session: findings.get_finding(session, request.finding_id))
        return pb.GetFindingResponse(finding=finding_to_proto(found))

    async def ListFindings(self, request: pb.ListFindingsRequest, context: Context) -> pb.ListFindingsResponse:
        now, wanted = datetime.now(UTC), _filter(request)
        page = await self._unit_of_work.read(
            lambda session: findings.list_findings(session, wanted, request.page_size, request.page_token, now)
        )
        return pb.ListFindingsResponse(findings=map(finding_to_proto, page.items), next_page_token=page.next_page_token)


def _wanted(request: pb.OpenFindingRequest) -> Finding:
    """Return a finding as its author sent it; the server sets the other fields."""
    return Finding(
        finding_id="",
        model=request.model,
        version=request.version,
        title=request.title,
        severity=severity_from_proto(request.severity) or FindingSeverity.CRITICAL,
        owner=request.owner,
        opened_by="",
        opened_at=datetime.now(UTC),
        description=request.description,
        due=day_from_proto(request.due, "due"),
        remedy=request.remedy,
        evidence=tuple(request.evidence),
    )


def _change(request: pb.UpdateFindingRequest) -> FindingChange:
    return FindingChange(
        owner=request.owner if request.HasField("owner") else None,
        due=day_from_proto(request.due, "due"),
        no_due=request.HasField("due") and not request.due,
        severity=severity_from_proto(request.severity),
        remedy=request.remedy if request.HasField("remedy") else None,
    )


def _filter(request: pb.ListFindingsRequest) -> FindingFilter:
    return FindingFilter(
        request.model,
        request.version,
        severity_from_proto(request.min_severity),
        finding_state_from_proto(request.state),
        request.overdue,
        request.owner,
    )

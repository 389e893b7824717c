"""The registry's methods for its audit log."""

from collections.abc import AsyncIterator
from functools import partial

from modelward.shared.convert.policy import audit_record_to_proto, verification_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceServicer
from modelward_server.governance.replay import verify
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.storage import audit


class AuditServicer(LifecycleServiceServicer):
    """Methods that export and verify the audit log."""

    _unit_of_work: RequestUnitOfWork

    async def VerifyAuditLog(self, request: pb.VerifyAuditLogRequest, context: Context) -> pb.VerifyAuditLogResponse:
        verification = await self._unit_of_work.analyse(
            lambda session: verify(session, request.from_sequence, request.to_sequence, request.expected_hash)
        )
        return verification_to_proto(verification)

    async def ExportAuditLog(
        self, request: pb.ExportAuditLogRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditLogResponse]:
        after = max(request.from_sequence, 1) - 1
        while records := await self._unit_of_work.read(partial(audit.records, after=after, last=request.to_sequence)):
            yield pb.ExportAuditLogResponse(records=map(audit_record_to_proto, records))
            after = records[-1].sequence

"""The governance service's methods for the head of the audit log, and for evidence packs."""

from collections.abc import AsyncIterator

from sqlalchemy.orm import Session

from modelward.shared.convert.common import ref_from_proto, time_to_proto
from modelward.v1 import governance_pb2 as pb
from modelward.v1.governance_pb2_grpc import GovernanceServiceServicer
from modelward_server.evidence.export import EvidenceExport, Wanted
from modelward_server.evidence.pack import LogHeadRecord
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.requests import optional_time
from modelward_server.storage.audit import last_sequence


class EvidenceServicer(GovernanceServiceServicer):
    """Methods that prove what is on record."""

    _unit_of_work: RequestUnitOfWork
    _evidence: EvidenceExport

    async def GetLogHead(self, request: pb.GetLogHeadRequest, context: Context) -> pb.GetLogHeadResponse:
        def read(session: Session) -> tuple[LogHeadRecord, list[bytes]]:
            head, first = self._evidence.head(session, last_sequence(session)), request.consistent_with
            return head, self._evidence.tree.consistency(session, first, head.records) if first else []

        head, proof = await self._unit_of_work.analyse(read)
        return pb.GetLogHeadResponse(head=self._head_to_proto(head), consistency_proof=proof)

    def _head_to_proto(self, head: LogHeadRecord) -> pb.LogHead:
        return pb.LogHead(
            records=head.records,
            root=head.root,
            made_at=time_to_proto(head.made_at),
            envelope=self._evidence.signed(head),
        )

    async def ExportEvidence(
        self, request: pb.ExportEvidenceRequest, context: Context
    ) -> AsyncIterator[pb.ExportEvidenceResponse]:
        ref = ref_from_proto(request.version) if request.HasField("version") else None
        pieces = self._evidence.pack(Wanted(ref, optional_time(request, "as_of"), not request.without_files))
        while piece := await self._unit_of_work.executors.compute.run(next, pieces, b""):
            yield pb.ExportEvidenceResponse(chunk=piece)

"""The governance service's methods for the head of the audit log, and for evidence packs: exported and imported."""

import time
from collections.abc import AsyncIterator

from sqlalchemy.orm import Session

from modelward.errors import DeadlineExceeded
from modelward.shared.convert.common import ref_from_proto, time_to_proto
from modelward.shared.convert.lifecycle import version_to_proto
from modelward.v1 import governance_pb2 as pb
from modelward.v1.governance_pb2_grpc import GovernanceServiceServicer
from modelward_server.actor_context import ActorContext
from modelward_server.evidence.export import EvidenceExport, Wanted
from modelward_server.evidence.pack import LogHeadRecord
from modelward_server.interceptors.client_id import client_of
from modelward_server.lifecycle import origins
from modelward_server.lifecycle.versions import NewVersion, get_version, prepare_registration
from modelward_server.rpc.evidence_import import EvidenceImport
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.requests import optional_time
from modelward_server.rpc.transfers import send_chunks
from modelward_server.runtime.admission import Admission
from modelward_server.storage.audit import last_sequence

MAX_EXPORTS, MAX_EXPORTS_OF_CLIENT = 16, 4
"""Maximum number of packs that are exported at once, and of those for one client."""
MAX_EXPORT_SECONDS = 3_600.0
"""Maximum time of one export, so that a client that reads slowly does not hold its place for ever."""


class EvidenceServicer(GovernanceServiceServicer):
    """Methods that prove what is on record."""

    _unit_of_work: RequestUnitOfWork
    _evidence: EvidenceExport
    _imports: EvidenceImport
    _exports: Admission

    async def GetLogHead(self, request: pb.GetLogHeadRequest, context: Context) -> pb.GetLogHeadResponse:
        def read(session: Session) -> tuple[LogHeadRecord, list[bytes]]:
            head, first = self._evidence.head(session, last_sequence(session)), request.consistent_with
            return head, self._evidence.tree.consistency(session, first, head.records) if first else []

        head, proof = await self._unit_of_work.analyse(read)
        signed = await self._unit_of_work.executors.evidence.run(self._head_to_proto, head)
        return pb.GetLogHeadResponse(head=signed, consistency_proof=proof)

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
        wanted = Wanted(ref, optional_time(request, "as_of"), not request.without_files)
        with self._exports.admit(client_of(context)):
            async for piece in self._pieces(wanted):
                yield pb.ExportEvidenceResponse(chunk=piece)

    async def _pieces(self, wanted: Wanted) -> AsyncIterator[bytes]:
        pieces, end = self._evidence.pack(wanted), time.monotonic() + MAX_EXPORT_SECONDS
        while piece := await self._unit_of_work.executors.evidence.run(next, pieces, b""):
            if time.monotonic() > end:
                fix = "read it faster, or export single versions, or without files"
                raise DeadlineExceeded(f"the export took more than {MAX_EXPORT_SECONDS:g} s; {fix}")
            yield piece

    async def ImportEvidence(self, request: pb.ImportEvidenceRequest, context: Context) -> pb.ImportEvidenceResponse:
        answered: pb.ImportEvidenceResponse | None = await self._unit_of_work.recorded_answer(request)
        if answered is not None:  # A retry verifies nothing again.
            return answered
        read = self._imports.read, request.pack, request.model
        new, model = await self._unit_of_work.executors.evidence.run(*read)
        blobs, allow_pickle = self._imports.blobs, self._imports.allow_pickle

        def adopt(session: Session, actor: ActorContext, prepared: NewVersion) -> pb.ImportEvidenceResponse:
            version = origins.adopt(session, prepared, model, actor)
            return pb.ImportEvidenceResponse(version=version_to_proto(version))

        return await self._unit_of_work.run_idempotent_prepared(
            request, context, lambda _session: prepare_registration(blobs, new, allow_pickle=allow_pickle), adopt
        )

    async def DownloadOrigin(
        self, request: pb.DownloadOriginRequest, context: Context
    ) -> AsyncIterator[pb.DownloadOriginResponse]:
        ref = ref_from_proto(request.version)
        version = await self._unit_of_work.read(lambda session: get_version(session, ref))
        origin, blobs = origins.required(version), self._imports.blobs
        path, files = blobs.path(origin.pack_sha256), self._unit_of_work.executors.files
        async for chunk in send_chunks(path, origin.pack_bytes, 0, files):
            yield pb.DownloadOriginResponse(chunk=chunk)

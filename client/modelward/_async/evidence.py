"""Client methods for proofs about the audit log, and for evidence packs."""

import asyncio
from datetime import datetime
from pathlib import Path

from modelward._async.connection import AsyncConnection
from modelward._coerce import AnyVersion, as_ref
from modelward.evidence.head import LogHead
from modelward.shared.convert.common import ref_to_proto, time_from_proto, time_to_proto
from modelward.v1 import governance_pb2 as pb

EXPORT_SECONDS = 3600.0


class AsyncEvidence(AsyncConnection):
    """Proofs about the audit log, and packs of what is on record."""

    async def log_head(self, *, consistent_with: LogHead | None = None) -> LogHead:
        """Return the root of the Merkle tree over the audit log (RFC 6962).

        Args:
            consistent_with: an earlier head, kept elsewhere, for which the proof is requested that the log continues
                it; `LogHead.continues` verifies it.

        Returns:
            The head, signed where the server has a key.

        Raises:
            InvalidField: the earlier head has more records than the log: it was cut off, or is another one.

        Examples:
            >>> earlier = await mw.log_head()
            >>> later = await mw.log_head(consistent_with=earlier)
            >>> later.continues(earlier)
            True
        """
        first = consistent_with.records if consistent_with else 0
        answer = await self._call(self._governance.GetLogHead, pb.GetLogHeadRequest(consistent_with=first))
        head = answer.head
        made_at = time_from_proto(head.made_at)
        return LogHead(head.records, head.root, made_at, head.envelope, tuple(answer.consistency_proof))

    async def export_evidence(
        self,
        version: AnyVersion | None,
        to: Path | str,
        *,
        as_of: datetime | None = None,
        without_files: bool = False,
        timeout: float = EXPORT_SECONDS,
    ) -> Path:
        """Write everything that is on record about a version to a ZIP file that can be verified without a server.

        Args:
            version: the version, such as `"spx-trend/3"`; None for every version that is in production, or was then.
            to: the file; it is replaced when the pack is complete.
            as_of: what was on record at this time, with everything as it stood then; None for now.
            without_files: leave out the version's own files.
            timeout: seconds in total.

        Returns:
            The file.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist, or did not at that time.
            DigestMismatch: one of its files is damaged.
            StoreUnavailable: a file cannot be read now, or the server's time-stamp authority does not answer.
            InvalidField: the time is not in the past.
        """
        target = Path(to)
        request = pb.ExportEvidenceRequest(
            version=None if version is None else ref_to_proto(as_ref(version)),
            as_of=time_to_proto(as_of),
            without_files=without_files,
        )
        partial = target.with_name(f"{target.name}.part")
        parts = self._receive(self._governance.ExportEvidence, request, timeout)
        try:
            with partial.open("wb") as file:
                async for part in parts:
                    await asyncio.to_thread(file.write, part.chunk)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

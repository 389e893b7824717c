# Derived from modelward/_async/evidence.py by client/unasync.py: change that one.
"""Client methods for proofs about the audit log, and for evidence packs."""

from collections.abc import Generator, Iterator
from datetime import datetime
from pathlib import Path

from modelward._coerce import AnyVersion, as_ref
from modelward._sync.received_file import write_parts
from modelward._sync.uploading import Uploading
from modelward.evidence.head import LogHead
from modelward.lifecycle import ModelVersion
from modelward.shared.convert.common import ref_to_proto, time_from_proto, time_to_proto
from modelward.shared.convert.lifecycle import version_from_proto
from modelward.v1 import governance_pb2 as pb

EXPORT_SECONDS = 3600.0


class Evidence(Uploading):
    """Proofs about the audit log, and packs of what is on record."""

    def log_head(self, *, consistent_with: LogHead | None = None) -> LogHead:
        """Return the root of the Merkle tree over the audit log (RFC 6962).

        Args:
            consistent_with: an earlier head, kept elsewhere, for which the proof is requested that the log continues
                it; `LogHead.continues` verifies it.

        Returns:
            The head, signed where the server has a key.

        Raises:
            InvalidField: the earlier head has more records than the log: it was cut off, or is another one.

        Examples:
            >>> earlier = mw.log_head()
            >>> later = mw.log_head(consistent_with=earlier)
            >>> later.continues(earlier)
            True
        """
        first = consistent_with.records if consistent_with else 0
        answer = self._call(self._governance.GetLogHead, pb.GetLogHeadRequest(consistent_with=first))
        head = answer.head
        made_at = time_from_proto(head.made_at)
        return LogHead(head.records, head.root, made_at, head.envelope, tuple(answer.consistency_proof))

    def export_evidence(
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
            InvalidField: the time is not in the past, or `to` cannot be written.
        """
        return write_parts(self._exported(version, as_of, without_files, timeout), Path(to))

    def stream_evidence(
        self,
        version: AnyVersion | None,
        *,
        as_of: datetime | None = None,
        without_files: bool = False,
        timeout: float = EXPORT_SECONDS,
    ) -> Iterator[bytes]:
        """Receive the same ZIP file as `export_evidence` in parts, for example to pass it on to a browser.

        Args:
            version: the version, such as `"spx-trend/3"`; None for every version that is in production, or was then.
            as_of: only what was on record at this time; None for now.
            without_files: leave out the version's own files.
            timeout: seconds in total.

        Yields:
            The parts of the file, in order. The file is complete only if no error ends them.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            DigestMismatch: one of its files is damaged.
            InvalidField: the time is not in the past.
        """
        for part in self._exported(version, as_of, without_files, timeout):
            yield part.chunk

    def _exported(
        self, version: AnyVersion | None, as_of: datetime | None, without_files: bool, timeout: float
    ) -> Generator[pb.ExportEvidenceResponse, None]:
        request = pb.ExportEvidenceRequest(
            version=None if version is None else ref_to_proto(as_ref(version)),
            as_of=time_to_proto(as_of),
            without_files=without_files,
        )
        return self._receive(self._governance.ExportEvidence, request, timeout)

    def import_evidence(
        self, path: Path | str, *, as_model: str = "", request_id: str = "", timeout: float = EXPORT_SECONDS
    ) -> ModelVersion:
        """Import the version of an evidence pack of another registry as the next version of a model, in training.

        Its files, metrics, tags, signatures, lineage and backtest are those in the pack. It has no reference, and
        approvals and stages from there do not count here; whoever registered it there counts as having registered it
        here as well.

        Args:
            path: the ZIP file that `export_evidence` wrote, of one version with its files.
            as_model: the model that gets the version, which is created if it does not exist; empty for the same name.
            request_id: a UUID that you choose, with which the same call can be repeated after a crash: it returns
                the version of the first one. A new one by default.
            timeout: seconds for each of the calls involved.

        Returns:
            The version here, with its `origin`.

        Raises:
            NoTrustedKey: the server trusts no key of other registries.
            InvalidField: the pack is damaged, not signed by a key that the server trusts, or without the version's
                files; or it cannot be read.
            VersionExists: the model has the version already.
            ModelNotAllowed: the client may not reach the model.
            RequestIdReused: `request_id` was used before for another call.

        Examples:
            >>> pack = mw.export_evidence("spx-trend/1", folder / "spx.zip")
            >>> version = mw.import_evidence(pack, as_model="spx-trend-live")
            >>> print(version, version.origin.ref)
            spx-trend-live/1 spx-trend/1
        """
        pack = self._upload_file("path", Path(path), timeout)
        request = pb.ImportEvidenceRequest(pack=pack, model=as_model, request_id=request_id)
        return version_from_proto((self._call(self._governance.ImportEvidence, request, timeout)).version)

    def download_origin(self, version: AnyVersion, to: Path | str, *, timeout: float = EXPORT_SECONDS) -> Path:
        """Write the evidence pack that a version was imported with to a file, byte for byte.

        Args:
            version: the version, such as `"spx-trend/3"`.
            to: the file; it is replaced when the pack is complete.
            timeout: seconds in total.

        Returns:
            The file.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            FileNotInArtifact: it was registered here.
            DigestMismatch: the server has lost or damaged the pack.
            InvalidField: `to` cannot be written.
        """
        request = pb.DownloadOriginRequest(version=ref_to_proto(as_ref(version)))
        return write_parts(self._receive(self._governance.DownloadOrigin, request, timeout), Path(to))

"""The import of versions from evidence packs: what is prepared before the transaction that registers one."""

from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf.message import Message

from modelward.errors import BlobsMissing, InvalidField
from modelward.evidence.layout import MODEL, VERSION
from modelward.lifecycle import Model, ModelFormat
from modelward.shared.convert.backtest import overfitting_from_proto
from modelward.shared.convert.lifecycle import model_from_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.evidence.foreign_pack import ForeignPack, ForeignVersion, refused
from modelward_server.interceptors.validation import check_message
from modelward_server.lifecycle.versions import NewVersion
from modelward_server.rpc.model_signatures import with_signature
from modelward_server.rpc.requests import new_version
from modelward_server.security.scope import check_reach
from modelward_server.security.trusted_evidence_keys import TrustedEvidenceKeys
from modelward_server.security.trusted_signers import TrustedSigners
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.table_memory import MIB


@dataclass(frozen=True)
class EvidenceImport:
    """Reads packs that clients have uploaded.

    Args:
        blobs: where packs are, and the files of versions are stored.
        keys: whose packs are imported.
        signers: whose signatures over the files of versions are trusted here.
        max_mb: how many MiB the files of a pack may have in all when they are unpacked.
        allow_pickle: whether formats that run their author's code may be tried.
    """

    blobs: BlobStore
    keys: TrustedEvidenceKeys
    signers: TrustedSigners
    max_mb: int
    allow_pickle: bool

    def read(self, sha256: str, model: str) -> tuple[NewVersion, Model]:
        """Verify a pack, store the files of its version, and return the version to register and its model there.

        Args:
            sha256: the pack.
            model: the model that gets the version; empty for that of the same name.

        Raises:
            NoTrustedKey: the operator trusts no key.
            BlobsMissing: the pack was not uploaded.
            InvalidField: it is damaged, or not signed by a trusted key; or no trusted signer has signed the files.
            ModelNotAllowed: the client may not reach the model.
            DigestMismatch, StoreUnavailable: the server has lost or damaged the pack, or cannot read it now.
            ExtraMissing: the extra `signing` is not installed.
        """
        keys = self.keys.require()
        found = ForeignPack(self._pack(sha256), self.blobs).read(keys, self.max_mb * MIB)
        model = model or found.version.model
        check_reach(model)
        new = replace(self._new(found, model), origin=found.origin)
        # Without any signer nothing can be verified: the version is then imported as one without a signature.
        given = found.bundle if self.signers.any else b""
        return with_signature(given, new, self.blobs, self.signers), model_from_proto(found.model)

    def _pack(self, sha256: str) -> Path:
        self.blobs.touch(sha256)
        if not self.blobs.path(sha256).exists():
            raise BlobsMissing("the pack is not on the server; upload it first", missing=sha256)
        return self.blobs.verified(sha256)

    def _new(self, found: ForeignVersion, model: str) -> NewVersion:
        """Return the version, which must meet the conditions of the contract for one that is registered."""
        folder = f"versions/{found.version.model}/{found.version.version}/"
        request, told = _registration(found.version, model), found.version.HasField("overfitting")
        _check(request, folder + VERSION)
        _check(_creation(found.model, model), folder + MODEL)
        return new_version(request, None, overfitting_from_proto(found.version.overfitting) if told else None)


def _check(message: Message, name: str) -> None:
    try:
        check_message(message)
    except InvalidField as error:
        raise refused(*(f"{name}: {violation}" for violation in error.violations)) from None


def _registration(version: pb.ModelVersion, model: str) -> pb.RegisterModelVersionRequest:
    """Return the request that registers a version as it is elsewhere; the format of other files is found here."""
    format_name = "" if version.format_name == ModelFormat.OTHER else version.format_name
    return pb.RegisterModelVersionRequest(
        model=model,
        manifest=pb.ArtifactManifest(files=version.files),
        format=version.format if format_name else pb.MODEL_FORMAT_UNSPECIFIED,
        format_name=format_name,
        framework=version.framework,
        description=version.description,
        tags=version.tags,
        params=version.params,
        metrics=version.metrics,
        signature=version.signature if version.HasField("signature") else None,
        folds=version.folds,
        training_window=version.training_window if version.HasField("training_window") else None,
        lineage=version.lineage if version.HasField("lineage") else None,
    )


def _creation(described: pb.Model, model: str) -> pb.CreateModelRequest:
    inventory = described.inventory if described.HasField("inventory") else None
    return pb.CreateModelRequest(
        model=model, description=described.description, tags=described.tags, inventory=inventory
    )

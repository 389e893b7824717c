"""Signatures over the files of versions that are registered: which bundle there is, and its verification."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from modelward.errors import FieldViolation, InvalidField
from modelward.evidence.model_bundle import SIGNATURE_FILE, ModelSignatureError
from modelward.lifecycle import ArtifactFile, ModelSignature
from modelward_server.evidence.model_signatures import VerifiedFiles, verify_files
from modelward_server.lifecycle.versions import NewVersion, check_files
from modelward_server.security.trusted_signers import TrustedSigners
from modelward_server.storage.blobs import BlobStore

FIELD = "model_signature"
MAX_BUNDLE_BYTES = 3 << 20
"""The contract's limit for a bundle in a request, which those among the files have too."""


def with_signature(given: bytes, new: NewVersion, blobs: BlobStore, signers: TrustedSigners) -> NewVersion:
    """Verify the signature of a version to be registered.

    Args:
        given: the bundle of the request; empty to take that among the files, if the operator trusts any signer.
        new: the version.
        blobs: the files.
        signers: whose signatures the operator trusts.

    Returns:
        The version with its signature, or as it is if there is none.

    Raises:
        InvalidField: the bundle is not verified, or the files cannot be stored in one folder.
        BlobsMissing: the content of a file was not uploaded.
        ExtraMissing: the extra `signing` is not installed.
        SignerUnusable: a trusted signer cannot be read.
    """
    bundle = given or _among(new.files, blobs, signers)
    if not bundle:
        return new
    if not signers.any:
        raise _refused("cannot be verified: the server trusts no signer (its setting trusted_signers)")
    check_files(blobs, new.files)
    paths = {file.path: blobs.path(file.sha256) for file in new.files}
    try:
        verified = verify_files(paths, bundle, signers.read(), blobs.folder)
    except ModelSignatureError as error:
        raise _refused(str(error)) from None
    return replace(new, model_signature=_recorded(verified, bundle), bundle=bundle.decode())


def _among(files: Sequence[ArtifactFile], blobs: BlobStore, signers: TrustedSigners) -> bytes:
    """Return the bundle among the files of a version; empty if there is none, or nobody to verify it by."""
    found = next((file for file in files if file.path == SIGNATURE_FILE), None)
    if found is None or not signers.any:
        return b""
    if found.size_bytes > MAX_BUNDLE_BYTES:
        raise _refused(f"has {found.size_bytes:,} bytes; at most {MAX_BUNDLE_BYTES:,} are allowed")
    check_files(blobs, files)
    return blobs.read_bytes(found.sha256) or b" "  # An empty one is refused as others that are no bundles.


def _recorded(verified: VerifiedFiles, bundle: bytes) -> ModelSignature:
    signer = verified.signer
    return ModelSignature(
        fingerprint=verified.fingerprint,
        trusted_fingerprint=signer.fingerprint,
        signer=signer.name,
        verified_at=datetime.now(UTC),
        bundle_sha256=hashlib.sha256(bundle).hexdigest(),
        unsigned_files=verified.unsigned_files,
    )


def _refused(why: str) -> InvalidField:
    return InvalidField(FieldViolation(FIELD, why))

"""Signatures over the files of versions, by the OpenSSF model signing specification and its library.

The library is in the extra `signing`, and takes seconds to import: only a call that needs it does so.
"""

import hashlib
import json
import os
import re
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_der_x509_certificate

from modelward.errors import ExtraMissing
from modelward.evidence.model_bundle import (
    MEDIA_TYPE,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    SIGNATURE_FILE,
    STATEMENT_TYPE,
    WHOLE_MODEL,
    ModelBundle,
    ModelSignatureError,
    SignedManifest,
    SigningMethod,
    parse_bundle,
    read_manifest,
)
from modelward.evidence.model_signature import NEVER_SIGNED, is_ignored
from modelward.lifecycle import ArtifactFile
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.libraries import load
from modelward_server.security.trusted_signers import TrustedSigner, fingerprint_of
from modelward_server.storage.blobs import VERIFYING

MODEL = "model"
"""The name of a model's folder there, which messages of the library mention."""
MISMATCH = "Signature mismatch: "
KEYLESS = "is signed by Sigstore without a key, which cannot be verified offline; sign with a key or a certificate"


SERIALIZATION = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": list(NEVER_SIGNED),
}
"""How the server hashes files that it signs itself."""


@dataclass(frozen=True)
class VerifiedFiles:
    """The result of a verification."""

    signer: TrustedSigner
    """The trusted key, or the trusted authority of the certificate, by which the bundle was verified."""
    fingerprint: str
    """SHA-256 of the key that signed, as SubjectPublicKeyInfo in DER, as hex."""
    unsigned_files: tuple[str, ...]
    """Files that the signature does not cover, sorted."""


class _OtherSignerError(Exception):
    """A signer has not signed a bundle."""


def sign_files(name: str, files: Sequence[ArtifactFile], signer: EvidenceSigner) -> bytes:
    """Sign the files of a version by their digests, which the registry has verified: none is read.

    Args:
        name: the version.
        files: its files.
        signer: the server's key, which may be in a token; the library takes only keys in files.

    Returns:
        The bundle, JSON in UTF-8; empty if there are no files but those that are never signed.
    """
    signed = sorted((file.path, file.sha256) for file in files if not is_ignored(file.path, ()))
    if not signed:
        return b""
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in signed)).hexdigest()
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": SERIALIZATION,
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in signed],
        },
    }
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signer.key_hint}, "tlogEntries": []},
        "dsseEnvelope": json.loads(signer.envelope(json.dumps(statement).encode(), PAYLOAD_TYPE)),
    }
    return json.dumps(bundle, sort_keys=True).encode()


def verify_files(
    files: Mapping[str, Path], bundle: bytes, signers: Sequence[TrustedSigner], folder: Path
) -> VerifiedFiles:
    """Verify a signature over the files of a version.

    Args:
        files: the files by their paths within the version.
        bundle: the bundle.
        signers: the keys and authorities that are trusted.
        folder: a folder on the same file system as the files, in which they are laid out as hard links.

    Returns:
        Who signed, and what the signature does not cover.

    Raises:
        ModelSignatureError: the bundle is malformed, no trusted signer has signed it, or files are not those that
            were signed.
        ExtraMissing: the extra `signing` is not installed.
    """
    parsed = parse_bundle(bundle)
    if parsed.method is SigningMethod.SIGSTORE:
        raise ModelSignatureError(KEYLESS)
    manifest = _manifest(parsed.payload)
    shown = {name: path for name, path in files.items() if name != SIGNATURE_FILE}
    with _laid_out(shown, folder) as model:
        path = model.parent / "bundle"
        path.write_bytes(bundle)
        whole = manifest is not None and [*manifest.digests] == [WHOLE_MODEL] and len(shown) == 1
        signer = _signer(parsed, signers, path, model.joinpath(*shown) if whole else model)
    ignored = manifest.ignored if manifest else ()
    unsigned = tuple(name for name in sorted(files) if is_ignored(name, ignored) and not (whole and name in shown))
    return VerifiedFiles(signer, _fingerprint(parsed, signer), unsigned)


def _library(module: str) -> Any:
    try:
        return load(module)
    except ModuleNotFoundError as error:
        fix = f"signatures of models need {error.name}, which the server lacks: pip install 'modelward[signing]'"
        raise ExtraMissing(fix, extra="signing") from None


@contextmanager
def _laid_out(files: Mapping[str, Path], folder: Path) -> Iterator[Path]:
    """Show files under their names in a folder for the duration of the block; none is copied."""
    with TemporaryDirectory(prefix=VERIFYING, dir=folder) as place:
        model = Path(place, MODEL)
        model.mkdir()
        for name, path in files.items():
            shown = model / name
            shown.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, shown)
        yield model


def _manifest(payload: bytes) -> SignedManifest | None:
    """Return what a payload says; None for that of version 0.2, which the library reads itself."""
    try:
        return read_manifest(payload)
    except ModelSignatureError:
        if PREDICATE_TYPE.encode() in payload or b"model_signing/Digests/v0.1" not in payload:
            raise
        return None


def _signer(parsed: ModelBundle, signers: Sequence[TrustedSigner], bundle: Path, model: Path) -> TrustedSigner:
    """Return the first signer by which the library verifies a bundle."""
    reasons = []
    for signer in signers:
        if _may_have_signed(parsed, signer):
            try:
                _verify(signer, bundle, model)
            except _OtherSignerError as error:
                reasons.append(f"{signer.name}: {error}")
            else:
                return signer
    by = f"the key {parsed.key_hint[:100]!r}" if parsed.key_hint else f"a {parsed.method}"
    details = f" ({'; '.join(reasons)})" if reasons else ""
    raise ModelSignatureError(f"is signed by {by}, which no trusted signer confirms{details}")


def _may_have_signed(parsed: ModelBundle, signer: TrustedSigner) -> bool:
    """Return whether a bundle can be verified by a signer; the library would refuse the others one by one."""
    if parsed.method is SigningMethod.CERTIFICATE:
        return signer.is_authority
    return not signer.is_authority and parsed.key_hint in {"", hashlib.sha256(signer.pem).hexdigest()}


def _verify(signer: TrustedSigner, bundle: Path, model: Path) -> None:
    """Verify a bundle by one signer.

    Raises:
        _OtherSignerError: that one has not signed it.
        ModelSignatureError: it has, but the files or the statement are wrong.
    """
    config, pem = _library("model_signing.verifying").Config(), bundle.parent / "signer.pem"
    pem.write_bytes(signer.pem)
    if signer.is_authority:
        config.use_certificate_verifier(certificate_chain=[pem])
    else:
        config.use_elliptic_key_verifier(public_key=pem)
    try:
        config.verify(model, bundle)
    except InvalidSignature:
        raise _OtherSignerError("the signature is not by this key, or what it signs was changed") from None
    except load("OpenSSL.crypto").X509StoreContextError as error:
        raise _OtherSignerError(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # The library's own, of what is malformed.
        raise ModelSignatureError(_explained(error)) from None


def _explained(error: Exception) -> str:
    text = str(error) if isinstance(error, ValueError) else f"is malformed: {error!r}"
    if not text.startswith(MISMATCH):
        return text
    differences = literal_eval(text.removeprefix(MISMATCH))
    return f"does not match the files: {'; '.join(map(_difference, differences))}"


def _difference(message: str) -> str:
    """Return what the library says of a file, without the bytes of both digests."""
    return re.sub(r"^Hash mismatch for '(.*)': Expected .*", r"\1 differs from what was signed", message)


def _fingerprint(parsed: ModelBundle, signer: TrustedSigner) -> str:
    if parsed.method is SigningMethod.KEY:
        return signer.fingerprint
    return fingerprint_of(load_der_x509_certificate(parsed.certificates[0]).public_key())

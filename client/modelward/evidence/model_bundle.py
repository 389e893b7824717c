"""Bundles of OpenSSF model signatures (specification 1.0): their structure, without any cryptography.

A bundle is a Sigstore bundle in JSON with a DSSE envelope, whose payload is an in-toto statement about a model's files.
"""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SIGNATURE_FILE = "model.sig"
"""The file in a model's folder that holds its bundle, unless another is named."""
WHOLE_MODEL = "."
"""The name of the only file of a model that was signed as a file, not as a folder."""


class ModelSignatureError(ValueError):
    """The bundle is malformed, was not signed by a trusted key, or does not match the files."""


class SigningMethod(StrEnum):
    """How a bundle was signed."""

    KEY = "key"
    CERTIFICATE = "certificate"
    SIGSTORE = "sigstore"


METHODS = {
    "publicKey": SigningMethod.KEY,
    "x509CertificateChain": SigningMethod.CERTIFICATE,
    "certificate": SigningMethod.SIGSTORE,
}
"""The methods by the field of the verification material that each has."""


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose structure is valid; nothing is verified."""

    method: SigningMethod
    key_hint: str
    """SHA-256 of the public key in PEM, as hex; empty in bundles of older signers, and for certificates."""
    certificates: tuple[bytes, ...]
    """The certificate that signed, in DER, and those above it; empty for keys."""
    payload: bytes
    signature: bytes


@dataclass(frozen=True)
class SignedManifest:
    """What a statement says about the files of a model."""

    method: str
    """`files`, or `shards`: parts of files of one size."""
    hash_type: str
    shard_size: int
    """Bytes of a shard; 0 for whole files."""
    ignored: tuple[str, ...]
    """Files and folders that were not signed."""
    digests: Mapping[str, str]
    """The digests as hex, by file, or by `file:start:end` for shards."""


def parse_bundle(data: bytes) -> ModelBundle:
    """Parse a bundle.

    Args:
        data: the bundle, JSON in UTF-8.

    Returns:
        Its parts.

    Raises:
        ModelSignatureError: it is no bundle of a model's signature.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ModelSignatureError("is not a complete JSON document") from None
    _require(isinstance(document, dict) and document.get("mediaType") == MEDIA_TYPE, f"has not the type {MEDIA_TYPE}")
    envelope = _part(document, "dsseEnvelope", dict)
    _require(envelope.get("payloadType") == PAYLOAD_TYPE, f"signs something else than {PAYLOAD_TYPE}")
    signatures = _part(envelope, "signatures", list)
    _require(bool(signatures) and isinstance(signatures[0], dict), "has no signature")
    material = _part(document, "verificationMaterial", dict)
    method = next((METHODS[field] for field in METHODS if field in material), None)
    if method is None:
        raise ModelSignatureError("names neither a public key nor a certificate")
    payload, signature = _bytes(envelope, "payload"), _bytes(signatures[0], "sig")
    return ModelBundle(method, _hint(material), _chain(material), payload, signature)


def read_manifest(payload: bytes) -> SignedManifest:
    """Read the statement that a bundle signs.

    Args:
        payload: the payload of a bundle, whose signature was verified.

    Returns:
        What it says about the files.

    Raises:
        ModelSignatureError: it is no statement about a model's files, or contradicts itself.
    """
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError):
        raise ModelSignatureError("signs a payload that is not JSON") from None
    _require(isinstance(statement, dict) and statement.get("_type") == STATEMENT_TYPE, "signs no in-toto statement")
    predicate_type = statement.get("predicateType")
    _require(
        predicate_type == PREDICATE_TYPE, f"signs a statement of the type {predicate_type!r}, not {PREDICATE_TYPE}"
    )
    subjects, predicate = _part(statement, "subject", list), _part(statement, "predicate", dict)
    _require(len(subjects) == 1, "must have one subject, the model")
    resources, serialization = _part(predicate, "resources", list), _part(predicate, "serialization", dict)
    digests = _digests(resources)
    _check_root(subjects[0], digests)
    return _manifest(serialization, digests)


def _digests(resources: Sequence[Any]) -> dict[str, str]:
    _require(bool(resources), "lists no file")
    try:
        digests = {str(one["name"]): str(one["digest"]) for one in resources}
    except (KeyError, TypeError):
        raise ModelSignatureError("lists a file without a name or a digest") from None
    _require(len(digests) == len(resources), "lists a file twice")
    return digests


def _check_root(subject: Any, digests: Mapping[str, str]) -> None:
    """Compare the digest of the model with those of its files."""
    try:
        root = sha256(b"".join(map(bytes.fromhex, digests.values()))).hexdigest()
    except ValueError:
        raise ModelSignatureError("has a digest that is no hex") from None
    told = _part(_part(subject, "digest", dict), "sha256", str)
    _require(told == root, "has a digest of the model that differs from those of its files")


def _manifest(serialization: Mapping[str, Any], digests: Mapping[str, str]) -> SignedManifest:
    method, size = serialization.get("method"), serialization.get("shard_size", 0)
    _require(method in {"files", "shards"}, f"hashes by the method {method!r}, which is not known")
    whole = isinstance(size, int | float) and float(size).is_integer()  # JSON may have Infinity.
    _require(whole and (method == "files" or size >= 1), "has no size of its shards")
    ignored = serialization.get("ignore_paths", [])
    _require(isinstance(ignored, list), "has a list of ignored paths that is no list")
    names = tuple(map(str, ignored))
    return SignedManifest(str(method), str(serialization.get("hash_type")), int(size), names, digests)


def _hint(material: Mapping[str, Any]) -> str:
    key = material.get("publicKey")
    return str(key.get("hint") or "") if isinstance(key, dict) else ""


def _chain(material: Mapping[str, Any]) -> tuple[bytes, ...]:
    chain = material.get("x509CertificateChain")
    if chain is None:
        return ()
    certificates = _part(chain, "certificates", list)
    _require(bool(certificates), "has no certificate")
    return tuple(_bytes(one, "rawBytes") for one in certificates)


def _part(parent: Any, field: str, kind: type[Any]) -> Any:
    part = parent.get(field) if isinstance(parent, dict) else None
    _require(isinstance(part, kind), f"has no {field}")
    return part


def _bytes(parent: Any, field: str) -> bytes:
    text = _part(parent, field, str)
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        raise ModelSignatureError(f"has a {field} that is no base64") from None
    _require(bool(decoded), f"has an empty {field}")
    return decoded


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ModelSignatureError(otherwise)

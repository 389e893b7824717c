"""The keys and certificate authorities whose signatures over models the operator trusts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from modelward.errors import FailedPrecondition
from modelward.evidence.pem import pem_blocks

CURVES = {"secp256r1", "secp384r1", "secp521r1"}
"""P-256, P-384 and P-521, as the specification of model signatures allows."""
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class SignerUnusable(FailedPrecondition):
    """A file of the setting `trusted_signers` cannot be read, or holds no signer."""


@dataclass(frozen=True)
class TrustedSigner:
    """A public key, or a root certificate with the certificates below it that were in its file."""

    name: str
    """The name of its file."""
    fingerprint: str
    """SHA-256 of its public key as SubjectPublicKeyInfo in DER, as hex."""
    pem: bytes
    is_authority: bool


class TrustedSigners:
    """The signers in files and folders, which are read at each use: a change of trust needs no restart.

    Args:
        places: files of public keys or certificates in PEM, one or several in each, and folders of such files named
            `*.pem`.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self._places = [Path(place) for place in places]

    @property
    def any(self) -> bool:
        return bool(self._places)

    def read(self) -> tuple[TrustedSigner, ...]:
        """Return the signers that are trusted now.

        Raises:
            SignerUnusable: a file cannot be read, or holds neither a public key nor a root certificate.
        """
        return tuple(signer for place in self._places for file in _files(place) for signer in _signers(file))

    def fingerprints(self) -> frozenset[str]:
        """Return the fingerprints of the signers that are trusted now. Raises as `read`."""
        return frozenset(signer.fingerprint for signer in self.read())


def fingerprint_of(key: PublicKeyTypes) -> str:
    """Return the SHA-256 of a public key as SubjectPublicKeyInfo in DER, as hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _files(place: Path) -> Sequence[Path]:
    return sorted(place.glob("*.pem")) if place.is_dir() else [place]


def _signers(file: Path) -> Sequence[TrustedSigner]:
    try:
        data = file.read_bytes()
        found = (
            list(_authorities(file.name, data))
            if CERTIFICATE in data
            else [_key(file.name, pem) for pem in pem_blocks(data)]
        )
    except OSError as error:
        raise SignerUnusable(f"the trusted signer {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SignerUnusable(f"{file} is no trusted signer: {error}") from None
    return found


def _key(name: str, data: bytes) -> TrustedSigner:
    key = load_pem_public_key(data)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ValueError("the key must be a public one of an elliptic curve: P-256, P-384 or P-521")
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return TrustedSigner(name, fingerprint_of(key), pem, is_authority=False)


def _authorities(name: str, data: bytes) -> Iterator[TrustedSigner]:
    """Yield each root certificate of a file, with those that are no roots."""
    certificates = x509.load_pem_x509_certificates(data)
    roots = [one for one in certificates if _is_root(one)]
    if not roots:
        raise ValueError("it has no root certificate, which is one that its own key has signed")
    below = b"".join(one.public_bytes(Encoding.PEM) for one in certificates if one not in roots)
    for root in roots:
        pem = root.public_bytes(Encoding.PEM) + below
        yield TrustedSigner(name, fingerprint_of(root.public_key()), pem, is_authority=True)


def _is_root(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is signed by its own key; that its names are equal would not be enough."""
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True

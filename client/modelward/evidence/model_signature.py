"""Verification of OpenSSF model signatures (specification 1.0) without a server, by public keys.

Needs the extra `verify`. Signatures by certificates are verified by a server, or by the library model-signing.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from modelward._given import check_given
from modelward.evidence.model_bundle import (
    PAYLOAD_TYPE,
    SIGNATURE_FILE,
    WHOLE_MODEL,
    ModelBundle,
    ModelSignatureError,
    SignedManifest,
    SigningMethod,
    parse_bundle,
    read_manifest,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

NEVER_SIGNED = (".git", ".gitattributes", ".github", ".gitignore", SIGNATURE_FILE)
"""Files and folders that no signature covers: those of Git, and the signature itself."""
MAX_DIFFERENCES = 10
"""Maximum number of files that a message names."""
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""The hash that is signed, by the curve of the key."""


class Hash(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


NewHash = Callable[[], Hash]
HASHES: Mapping[str, NewHash] = {"sha256": hashlib.sha256, "blake2b": hashlib.blake2b}
ReadFile = Callable[[str], Iterable[bytes]]
"""Returns the content of a file, in parts of any size, by its path within the model."""


@dataclass(frozen=True)
class VerifiedModel:
    """The result of a verification."""

    fingerprint: str
    """SHA-256 of the key that signed, as SubjectPublicKeyInfo in DER, as hex."""
    unsigned_files: tuple[str, ...]
    """Files of the model that the signature does not cover, sorted."""


def verify_model_signature(bundle: bytes, keys: Iterable[bytes], names: Iterable[str], read: ReadFile) -> VerifiedModel:
    """Verify a signature over a model's files by public keys.

    Args:
        bundle: the bundle, such as the content of `model.sig`.
        keys: the trusted public keys, each in PEM: elliptic curves P-256, P-384 or P-521.
        names: the paths of all files of the model, relative to its folder, with slashes.
        read: returns the content of one of them.

    Returns:
        The key that signed, and the files that the signature does not cover.

    Raises:
        ModelSignatureError: no trusted key signed the bundle, or the files are not those that were signed.
        ValueError: a key is not one of these.
        InvalidField: the bundle is not bytes.
        ImportError: the extra `verify` is not installed.
    """
    check_given("bundle", bundle, bytes)
    parsed = parse_bundle(bundle)
    if parsed.method is not SigningMethod.KEY:
        raise ModelSignatureError(f"is signed by the method {parsed.method}; only signatures by keys are verified here")
    key = _signing_key(parsed, [load_key(pem) for pem in keys])
    manifest, paths = read_manifest(parsed.payload), sorted(names)
    signed = _signed_paths(manifest, paths)
    found = _found(manifest, signed, read)
    _compare(manifest.digests, {WHOLE_MODEL: found[signed[0]]} if _is_whole(manifest, signed) else found)
    return VerifiedModel(fingerprint_of(key), tuple(path for path in paths if path not in signed))


def fingerprint_of(key: "EllipticCurvePublicKey") -> str:
    """Return the SHA-256 of a public key as SubjectPublicKeyInfo in DER.

    Args:
        key: the key.

    Returns:
        The digest, as hex.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def key_hint(key: "EllipticCurvePublicKey") -> str:
    """Return the hint by which bundles name a public key.

    Args:
        key: the key.

    Returns:
        The SHA-256 of the key in PEM, as hex.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def is_ignored(path: str, ignored: Iterable[str]) -> bool:
    """Return whether a signature leaves out a file.

    Args:
        path: its path within the model.
        ignored: the files and folders that the signature names as ignored.

    Returns:
        Whether it is one of them, or in one of them, or never signed.
    """
    return any(PurePosixPath(path).is_relative_to(one) for one in (*NEVER_SIGNED, *ignored))


def _signed_paths(manifest: SignedManifest, paths: Sequence[str]) -> list[str]:
    """Return the files that a signature covers."""
    others = [path for path in paths if path != SIGNATURE_FILE]
    if _is_whole(manifest, others):
        return others
    return [path for path in others if not is_ignored(path, manifest.ignored)]


def _is_whole(manifest: SignedManifest, paths: Sequence[str]) -> bool:
    """Return whether the only file was signed as a file, without its folder."""
    return [*manifest.digests] == [WHOLE_MODEL] and len(paths) == 1 and manifest.method == "files"


def load_key(pem: bytes) -> "EllipticCurvePublicKey":
    """Load a public key that can sign models.

    Args:
        pem: the key, in PEM.

    Returns:
        The key.

    Raises:
        ValueError: it is none of the elliptic curves P-256, P-384 and P-521.
        ImportError: the extra `verify` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError as error:
        raise ImportError("verifying signatures needs the extra: pip install 'modelward[verify]'") from error
    key = load_pem_public_key(pem)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ValueError("the public key must be of an elliptic curve: P-256, P-384 or P-521")
    return key


def _signing_key(bundle: ModelBundle, keys: Sequence["EllipticCurvePublicKey"]) -> "EllipticCurvePublicKey":
    """Return the key that signed a bundle."""
    named = [key for key in keys if bundle.key_hint in {"", key_hint(key)}]
    if not named and bundle.key_hint:
        raise ModelSignatureError(f"names the key {bundle.key_hint[:100]!r}, which is not trusted")
    signing = next((key for key in named if _signed(bundle, key)), None)
    if signing is None:
        raise ModelSignatureError("was not signed by a trusted key, or was changed afterwards")
    return signing


def _signed(bundle: ModelBundle, key: "EllipticCurvePublicKey") -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    algorithm = getattr(hashes, CURVES[key.curve.name])()
    try:
        key.verify(bundle.signature, _to_be_signed(bundle.payload), ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _to_be_signed(payload: bytes) -> bytes:
    """Return the pre-authentication encoding of DSSE version 1."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _found(manifest: SignedManifest, paths: Iterable[str], read: ReadFile) -> dict[str, str]:
    """Hash files as a manifest says."""
    new = HASHES.get(manifest.hash_type)
    if new is None:
        raise ModelSignatureError(f"hashes with {manifest.hash_type!r}; only {' and '.join(HASHES)} are known here")
    if manifest.method == "files":
        return {path: _digest(new(), read(path)) for path in paths}
    return {name: digest for path in paths for name, digest in _shards(path, read(path), manifest.shard_size, new)}


def _digest(hasher: "Hash", parts: Iterable[bytes]) -> str:
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def _shards(path: str, parts: Iterable[bytes], size: int, new: NewHash) -> Iterator[tuple[str, str]]:
    """Yield the name and the digest of each shard of a file; an empty file has none."""
    start, end, hasher = 0, 0, new()
    for part in parts:
        rest = memoryview(part)
        while rest:
            taken = rest[: start + size - end]
            hasher.update(taken)
            end, rest = end + len(taken), rest[len(taken) :]
            if end == start + size:
                yield f"{path}:{start}:{end}", hasher.hexdigest()
                start, hasher = end, new()
    if end > start:
        yield f"{path}:{start}:{end}", hasher.hexdigest()


def _compare(signed: Mapping[str, str], found: Mapping[str, str]) -> None:
    changed = [name for name in signed if name in found and signed[name] != found[name]]
    missing = [name for name in signed if name not in found]
    added = [name for name in found if name not in signed]
    listed = {"differ from what was signed": changed, "were signed and are missing": missing, "were not signed": added}
    wrong = [f"files that {words}: {_listed(names)}" for words, names in listed.items() if names]
    if wrong:
        raise ModelSignatureError("; ".join(wrong))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_DIFFERENCES:,} more" if len(names) > MAX_DIFFERENCES else ""
    return ", ".join(names[:MAX_DIFFERENCES]) + more

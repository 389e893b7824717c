"""Signatures over versions' files in evidence packs: that of the server, and that with which a version was registered.

Both are OpenSSF model signatures, and are beside the files that they sign.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from modelward._record import Record
from modelward.errors import FieldViolation, InvalidField
from modelward.evidence.envelopes import DefectError
from modelward.evidence.layout import FILES, GIVEN_SIGNATURE, SERVER_SIGNATURE
from modelward.evidence.model_bundle import ModelSignatureError
from modelward.evidence.model_signature import is_ignored, load_key, verify_model_signature
from modelward.evidence.pem import pem_blocks

READ_BYTES = 1 << 20


@dataclass(frozen=True, repr=False)
class PackSignature(Record):
    """A signature over the files of a version in a pack."""

    file: str
    """Its file."""
    fingerprint: str
    """SHA-256 of the trusted key that signed, as SubjectPublicKeyInfo in DER, as hex; empty if it was not verified."""
    unsigned_files: Sequence[str]
    """Files of the version that it does not cover, sorted; empty if it was not verified."""

    @property
    def verified(self) -> bool:
        """Whether a trusted key signed it."""
        return bool(self.fingerprint)


def read_keys(paths: Sequence[Path]) -> list[bytes]:
    """Read public keys of signers.

    Args:
        paths: files in PEM, each with one key or several: elliptic curves P-256, P-384 or P-521.

    Returns:
        The keys, in PEM.

    Raises:
        InvalidField: one cannot be read, or the extra `verify` is not installed.
    """
    keys: list[bytes] = []
    for path in paths:
        try:
            found = pem_blocks(path.read_bytes())
            keys += [pem for pem in found if load_key(pem)]
        except (OSError, ValueError, ImportError) as error:
            raise InvalidField(FieldViolation("signer_keys", f"{path} is no public key of a signer: {error}")) from None
    return keys


class FileSignatures:
    """The signatures over the files of one version in a pack.

    Args:
        pack: the pack.
        folder: the version's folder, with a slash at its end.
        names: the files in it.
        version: the version, as its file says it.
    """

    def __init__(self, pack: zipfile.ZipFile, folder: str, names: Sequence[str], version: Mapping[str, Any]) -> None:
        self._pack, self._folder, self._files = pack, folder, f"{folder}{FILES}/"
        self._given = version.get("model_signature")
        self._names = [name.removeprefix(self._files) for name in names if name.startswith(self._files)]
        self._present = {name for name in names if name in {folder + SERVER_SIGNATURE, folder + GIVEN_SIGNATURE}}

    def by_server(self, keys: Sequence[bytes]) -> Iterator[PackSignature]:
        """Yield the server's signature; there is none where the pack has no files, or only such as are never signed.

        Args:
            keys: the server's public key, in PEM; empty: the signature is not verified.

        Raises:
            DefectError: it is missing or not valid.
        """
        path = self._folder + SERVER_SIGNATURE
        if path in self._present:
            yield self._verified(path, keys)
        elif keys and any(not is_ignored(name, ()) for name in self._names):
            raise DefectError("is missing")

    def by_signer(self, keys: Sequence[bytes]) -> Iterator[PackSignature]:
        """Yield the signature with which the version was registered, if there was one, and its files are in the pack.

        Args:
            keys: public keys of trusted signers, in PEM; empty: the signature is not verified.

        Raises:
            DefectError: it is missing, not that of the registration, or not valid.
        """
        path = self._folder + GIVEN_SIGNATURE
        if not self._given or not self._names:
            return
        if path not in self._present:
            raise DefectError("is missing")
        if sha256(self._pack.read(path)).hexdigest() != self._given["bundle_sha256"]:
            raise DefectError("is not the signature that was verified at registration")
        yield self._verified(path, keys)

    def _verified(self, path: str, keys: Sequence[bytes]) -> PackSignature:
        if not keys:
            return PackSignature(path, "", ())
        try:
            verified = verify_model_signature(self._pack.read(path), keys, self._names, self._read)
        except ModelSignatureError as error:
            raise DefectError(str(error)) from None
        return PackSignature(path, verified.fingerprint, verified.unsigned_files)

    def _read(self, name: str) -> Iterator[bytes]:
        with self._pack.open(self._files + name) as file:
            while chunk := file.read(READ_BYTES):
                yield chunk

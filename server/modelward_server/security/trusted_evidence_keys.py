"""The keys of other registries whose evidence packs the operator lets be imported."""

from collections.abc import Sequence

from modelward.errors import FailedPrecondition, NoTrustedKey
from modelward_server.security.trusted_signers import SignerUnusable, TrustedSigners

SETTING = "trusted_evidence_keys"


class EvidenceKeyUnusable(FailedPrecondition):
    """A file of the setting `trusted_evidence_keys` cannot be read, or holds no public key."""


class TrustedEvidenceKeys:
    """The public keys in files and folders, which are read at each use: a change of trust needs no restart.

    Args:
        places: files of public keys in PEM, and folders of such files named `*.pem`.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self._signers = TrustedSigners(places)

    def read(self) -> tuple[bytes, ...]:
        """Return the keys that are trusted now, in PEM; none if the setting is empty.

        Raises:
            EvidenceKeyUnusable: a file cannot be read, or holds no public key.
        """
        try:
            signers = self._signers.read()
        except SignerUnusable as error:
            raise EvidenceKeyUnusable(error.message) from None
        for signer in signers:
            if signer.is_authority:
                raise EvidenceKeyUnusable(f"{signer.name} is a certificate; evidence is signed by a key without one")
        return tuple(signer.pem for signer in signers)

    def require(self) -> tuple[bytes, ...]:
        """Return the keys that are trusted now, in PEM.

        Raises:
            NoTrustedKey: there is none.
            EvidenceKeyUnusable: a file cannot be read, or holds no public key.
        """
        keys = self.read()
        if not keys:
            fix = f"give the public keys of registries to import from in the setting {SETTING}"
            raise NoTrustedKey(f"the server trusts no key of evidence packs; {fix}", setting=SETTING)
        return keys

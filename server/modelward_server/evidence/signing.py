"""Signatures of the server: DSSE envelopes, by a key in a PEM file or in a PKCS#11 token."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from modelward_server.evidence.pkcs11 import SCHEME, token_signer
from modelward_server.settings import SettingError

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

SETTING = "signing_key"


class EvidenceSigner:
    """Signs bytes with ECDSA on the curve P-256 and SHA-256.

    Args:
        location: a file with a private key in PEM, or a PKCS#11 URI (RFC 7512).

    Raises:
        SettingError: there is no such key, or the extra `signing` is not installed.
    """

    def __init__(self, location: str) -> None:
        try:
            self._signer = token_signer(location) if location.startswith(SCHEME) else _file_signer(Path(location))
        except ModuleNotFoundError as error:
            raise SettingError(SETTING, f"signing needs {error.name}: pip install 'modelward[signing]'") from None
        except ValueError as error:
            raise SettingError(SETTING, str(error)) from None

    @property
    def key_id(self) -> str:
        """The id of the key, by which envelopes name it."""
        key_id: str = self._signer.public_key.keyid
        return key_id

    @property
    def key_hint(self) -> str:
        """SHA-256 of the public key in PEM, as hex, by which signatures over models name it."""
        return hashlib.sha256(self._signer.public_key.keyval["public"].encode()).hexdigest()

    def envelope(self, payload: bytes, payload_type: str) -> str:
        """Return a signed DSSE envelope as JSON.

        Args:
            payload: what is signed.
            payload_type: its media type.
        """
        from securesystemslib.dsse import Envelope

        signed = Envelope(payload, payload_type, {})
        signed.sign(self._signer)
        return json.dumps(signed.to_dict(), sort_keys=True)


def _file_signer(path: Path) -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"the signing key {path} cannot be read: {error}") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError(f"the signing key {path} is not on the curve P-256; make one as docs/evidence.md shows")
    return CryptoSigner(key)

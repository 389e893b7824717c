"""Keys in PKCS#11 tokens, named by URIs as RFC 7512 defines them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

SCHEME = "pkcs11:"
FORM = "pkcs11:token=TOKEN;object=KEY?module-path=LIBRARY&pin-source=FILE"


@dataclass(frozen=True)
class TokenKey:
    """Where a key is: the library of the token, the token, the key's label, and the token's PIN."""

    module: str
    token: str
    label: str
    pin: str

    @classmethod
    def of(cls, uri: str) -> TokenKey:
        """Return what a URI names.

        Raises:
            ValueError: a part is missing, or the PIN's file cannot be read.
        """
        path, _, query = uri.removeprefix(SCHEME).partition("?")
        parts = dict(part.split("=", 1) for part in path.split(";") if "=" in part)
        options = dict(parse_qsl(query))
        try:
            pin = options.get("pin-value") or Path(options["pin-source"].removeprefix("file:")).read_text().strip()
            return cls(options["module-path"], unquote(parts["token"]), unquote(parts["object"]), pin)
        except (KeyError, OSError) as error:
            raise ValueError(f"the signing key must be named as {FORM}: {error} is missing") from None


def token_signer(uri: str) -> Signer:
    """Return what signs with a P-256 key in a token.

    Raises:
        ModuleNotFoundError: the extra `signing` is not installed.
        ValueError: the URI, the token or the key is wrong.
    """
    import pkcs11
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.serialization import load_der_public_key
    from pkcs11 import KeyType, Mechanism, ObjectClass
    from pkcs11.util.ec import encode_ec_public_key
    from securesystemslib.signer import Signature, Signer, SSlibKey

    key = TokenKey.of(uri)

    def opened() -> Any:
        return pkcs11.lib(key.module).get_token(token_label=key.token).open(user_pin=key.pin)

    class TokenSigner(Signer):
        """Signs in the token, so that the private key never leaves it."""

        def __init__(self, public: SSlibKey) -> None:
            self._public = public

        @property
        def public_key(self) -> SSlibKey:
            return self._public

        @classmethod
        def from_priv_key_uri(cls, priv_key_uri: str, public_key: Any, secrets_handler: Any = None) -> TokenSigner:
            raise NotImplementedError(priv_key_uri)

        def sign(self, payload: bytes) -> Signature:
            with opened() as session:
                private = session.get_key(ObjectClass.PRIVATE_KEY, KeyType.EC, label=key.label)
                raw = private.sign(hashlib.sha256(payload).digest(), mechanism=Mechanism.ECDSA)
            half = len(raw) // 2
            numbers = (int.from_bytes(part, "big") for part in (raw[:half], raw[half:]))
            return Signature(self._public.keyid, encode_dss_signature(*numbers).hex())

    try:
        with opened() as session:
            public = session.get_key(ObjectClass.PUBLIC_KEY, KeyType.EC, label=key.label)
            read: Any = load_der_public_key(encode_ec_public_key(public))
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise ValueError(f"the signing key {key.label} of the token {key.token} cannot be used: {error!r}") from None
    return TokenSigner(SSlibKey.from_crypto(read))

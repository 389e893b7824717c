"""JWTs of an identity provider (RFC 7519), checked with the keys that it publishes (RFC 7517)."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import jwt

from modelward.errors import NotAuthenticated, StoreUnavailable
from modelward_server.security.identity import Identity, Role

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Only those that sign with a private key: with the others, whoever can check a token can make one."""
LEEWAY_SECONDS = 30
"""How far the provider's clock may be from ours."""
KEYS_SECONDS = 300.0
"""How long keys are used before they are fetched again."""
FETCH_SECONDS = 10.0
"""The least between two fetches, whatever keys the tokens of strangers name."""
REQUIRED = ["exp", "iss", "aud", "sub"]
ROLE_CLAIM = "modelward_role"
MODELS_CLAIM = "modelward_models"


class IdentityProvider:
    """An issuer of JWTs whose `modelward_role` and `modelward_models` say what their bearers may do.

    Args:
        issuer: what `iss` must be.
        audience: what `aud` must be or contain.
        keys: its JWK set: a file, or an http(s) URL.
    """

    def __init__(self, issuer: str, audience: str, keys: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._place = keys
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = -KEYS_SECONDS
        self._lock = threading.Lock()

    async def identity(self, token: str) -> Identity:
        """Return whom a token names.

        Raises:
            NotAuthenticated: it is not a good one.
            StoreUnavailable: the keys cannot be fetched.
        """
        return await asyncio.to_thread(self._identity, token)

    def _identity(self, token: str) -> Identity:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                self._key(str(header.get("kid", ""))),
                ALGORITHMS,
                options={"require": REQUIRED},
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
            )
        except jwt.PyJWTError as error:
            raise NotAuthenticated(f"the JWT is refused: {error}") from None
        return Identity(str(claims["sub"])[:256], _role(claims), _models(claims))

    def _key(self, key_id: str) -> jwt.PyJWK:
        with self._lock:
            age = time.monotonic() - self._fetched
            if age >= KEYS_SECONDS or (key_id not in self._keys and age >= FETCH_SECONDS):
                self._keys, self._fetched = self._fetch(), time.monotonic()
            if key_id not in self._keys:
                raise jwt.InvalidKeyError("it was signed with a key that the identity provider does not publish")
            return self._keys[key_id]

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        try:
            if self._place.startswith(("http://", "https://")):
                found = jwt.PyJWKSet.from_dict(jwt.PyJWKClient(self._place, timeout=5).fetch_data())
            else:
                found = jwt.PyJWKSet.from_json(Path(self._place).read_text())
        except (jwt.PyJWTError, OSError, ValueError) as error:
            message = f"the keys of the identity provider cannot be read: {error}"
            raise StoreUnavailable(message, store="identity provider") from error
        return {key.key_id or "": key for key in found.keys}


def _role(claims: dict[str, Any]) -> Role:
    try:
        return Role(claims.get(ROLE_CLAIM, ""))
    except ValueError:
        roles = ", ".join(Role)
        raise NotAuthenticated(f"the JWT needs a claim {ROLE_CLAIM}, one of {roles}") from None


def _models(claims: dict[str, Any]) -> tuple[str, ...]:
    found = claims.get(MODELS_CLAIM, [])
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise NotAuthenticated(f"the claim {MODELS_CLAIM} of the JWT must be a list of the beginnings of models' names")
    return tuple(found)

"""JWTs of an identity provider (RFC 7519), checked with the keys that it publishes (RFC 7517)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from modelward.errors import NotAuthenticated
from modelward_server.identity import Identity, Role, is_prefix
from modelward_server.observability import log_context
from modelward_server.security.jwks import PublishedKeys

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only those that sign with a private key: with the others, whoever can check a token can make one."""
LEEWAY_SECONDS = 30
"""How far the provider's clock may be from ours."""
REQUIRED = ["exp", "iss", "aud", "sub"]
ROLE_CLAIM = "modelward_role"
MODELS_CLAIM = "modelward_models"
LONGEST_SUBJECT = 256


@dataclass(frozen=True)
class Claims:
    """What a JWT says of its bearer."""

    subject: str
    """Who it is: the actor of what they do."""
    role: Role
    models: tuple[str, ...]
    """What the names of their models begin with; empty for every model."""
    expires_at: datetime
    """When the JWT ends, in UTC; it is taken for `LEEWAY_SECONDS` more."""


class IdentityProvider:
    """An issuer of JWTs whose `modelward_role` and `modelward_models` say what their bearers may do.

    Args:
        issuer: what `iss` must be.
        audience: what `aud` must be or contain.
        keys: its JWK set: a file, or an https URL; http on this machine only.

    Raises:
        ValueError: the URL is one whose answer others could change.
    """

    def __init__(self, issuer: str, audience: str, keys: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = PublishedKeys(keys)

    async def identity(self, token: str) -> Identity:
        """Return whom a JWT names.

        Raises:
            NotAuthenticated: it is not a good one.
            StoreUnavailable: the provider's keys cannot be read.
        """
        said = await self.claims(token)
        return Identity(said.subject, said.role, said.models)

    async def claims(self, token: str) -> Claims:
        """Return what a JWT says, if the provider signed it for us and it has not ended.

        Raises:
            NotAuthenticated: it is not a good one.
            StoreUnavailable: the provider's keys cannot be read.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            return self._checked(token, await self._keys.find(key_id))
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise NotAuthenticated(f"the JWT is refused: {error}") from None

    def _checked(self, token: str, key: jwt.PyJWK) -> Claims:
        try:
            found = self._decoded(token, key)
        except jwt.ExpiredSignatureError:
            log_context.note(actor=_subject(self._decoded(token, key, verify_exp=False)))  # Who it was, for the log.
            raise
        return Claims(_subject(found), _role(found), _models(found), datetime.fromtimestamp(int(found["exp"]), UTC))

    def _decoded(self, token: str, key: jwt.PyJWK, *, verify_exp: bool = True) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            ALGORITHMS,
            options={"require": REQUIRED, "verify_exp": verify_exp},
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
        )


def _subject(claims: dict[str, Any]) -> str:
    subject: str = claims["sub"]
    if not subject or len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        raise ValueError(f"its sub must have 1 to {LONGEST_SUBJECT} characters, all printable")
    return subject


def _role(claims: dict[str, Any]) -> Role:
    try:
        return Role(claims.get(ROLE_CLAIM, ""))
    except ValueError:
        raise ValueError(f"it needs a claim {ROLE_CLAIM}, one of {', '.join(Role)}") from None


def _models(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return the prefixes; an empty list is refused, for it would give every model to who has none."""
    if MODELS_CLAIM not in claims:
        return ()
    found = claims[MODELS_CLAIM]
    if not isinstance(found, list) or not found or not all(map(is_prefix, found)):
        raise ValueError(f"its {MODELS_CLAIM} must list what names of models begin with; leave it out for every model")
    return tuple(found)

"""JWTs of an identity provider (RFC 7519), verified with its published keys (RFC 7517)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from modelward.caller import Role
from modelward.errors import NotAuthenticated
from modelward_server.identity import Identity, is_function, is_prefix
from modelward_server.observability import log_context
from modelward_server.security.jwks import PublishedKeys

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only asymmetric algorithms: with the others, whoever can verify a token can create one."""
LEEWAY_SECONDS = 30
"""Accepted difference between the provider's clock and ours."""
REQUIRED = ["exp", "iss", "aud", "sub"]
ROLE_CLAIM = "modelward_role"
MODELS_CLAIM = "modelward_models"
FUNCTIONS_CLAIM = "modelward_functions"
MAX_SUBJECT_LENGTH = 256


@dataclass(frozen=True)
class Claims:
    """The verified claims of a JWT."""

    subject: str
    """The identity of the bearer: the actor of its changes."""
    role: Role
    models: tuple[str, ...]
    """Name prefixes of the bearer's models; empty for every model."""
    expires_at: datetime
    """Expiry of the JWT in UTC; it is accepted for `LEEWAY_SECONDS` more."""
    functions: tuple[str, ...] = ()
    """The functions for which the bearer decides requests of approval."""


class IdentityProvider:
    """An issuer of JWTs whose claims define the permissions of their bearers.

    Args:
        issuer: the required `iss`.
        audience: the value that `aud` must be or contain.
        keys: its JWK set: a file, or an https URL; http on this machine only.

    Raises:
        ValueError: the URL is one whose answer others could change.
    """

    def __init__(self, issuer: str, audience: str, keys: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = PublishedKeys(keys)

    async def identity(self, token: str) -> Identity:
        """Return the identity of a JWT's bearer.

        Raises:
            NotAuthenticated: the JWT is not valid.
            StoreUnavailable: the provider's keys cannot be read.
        """
        claims = await self.claims(token)
        return Identity(claims.subject, claims.role, claims.models, claims.expires_at, claims.functions)

    async def claims(self, token: str) -> Claims:
        """Return the claims of a JWT, if the provider signed it for this server and it has not expired.

        Raises:
            NotAuthenticated: the JWT is not valid.
            StoreUnavailable: the provider's keys cannot be read.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            return self._checked(token, await self._keys.find(key_id))
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise NotAuthenticated(f"the JWT is refused: {error}") from None

    def _checked(self, token: str, key: jwt.PyJWK) -> Claims:
        try:
            claims = self._decoded(token, key)
        except jwt.ExpiredSignatureError:
            log_context.note(actor=_subject(self._decoded(token, key, verify_exp=False)))  # For the log.
            raise
        expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
        return Claims(_subject(claims), _role(claims), _models(claims), expires_at, _functions(claims))

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
    if not subject or len(subject) > MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise ValueError(f"its sub must have 1 to {MAX_SUBJECT_LENGTH} characters, all printable")
    return subject


def _role(claims: dict[str, Any]) -> Role:
    try:
        return Role(claims.get(ROLE_CLAIM, ""))
    except ValueError:
        raise ValueError(f"it needs a claim {ROLE_CLAIM}, one of {', '.join(Role)}") from None


def _models(claims: dict[str, Any]) -> tuple[str, ...]:
    """Return the name prefixes; an empty list is refused, since it would give every model to a bearer of none."""
    if MODELS_CLAIM not in claims:
        return ()
    prefixes = claims[MODELS_CLAIM]
    if not isinstance(prefixes, list) or not prefixes or not all(map(is_prefix, prefixes)):
        raise ValueError(f"its {MODELS_CLAIM} must list prefixes of models' names; leave it out for every model")
    return tuple(prefixes)


def _functions(claims: dict[str, Any]) -> tuple[str, ...]:
    functions = claims.get(FUNCTIONS_CLAIM, [])
    if not isinstance(functions, list) or not all(map(is_function, functions)):
        raise ValueError(f"its {FUNCTIONS_CLAIM} must list functions such as risk, in lower case")
    return tuple(functions)

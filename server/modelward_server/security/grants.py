"""Grants: tokens and certificates with their permissions, created and revoked in the ledger.

A token is `mw_<id>_<secret>`. The ledger has the id and a SHA-256 of the secret, which is 32 random bytes: it cannot be
guessed, so a slow hash would only slow down every call.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelward.caller import Role
from modelward.errors import FieldViolation, InvalidField, NotFound
from modelward_server.actor_context import ActorContext
from modelward_server.identity import Identity, is_function, is_prefix
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.security_tables import GrantRow

TOKEN = re.compile(r"mw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
ID_BYTES = 6
SECRET_BYTES = 32


@dataclass(frozen=True)
class Grant:
    """The permissions given to a token or a certificate."""

    id: str
    name: str
    role: Role
    models: tuple[str, ...]
    kind: str
    """`token` or `certificate`."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    functions: tuple[str, ...] = ()
    """The functions for which its holder decides requests of approval."""


@dataclass(frozen=True)
class RecordedGrant(Grant):
    """A grant as recorded in the audit log, with the hash of its secret, so that none can be substituted."""

    secret_sha256: str = ""
    """Empty for a certificate."""


def create_token(
    session: Session,
    name: str,
    role: Role,
    models: tuple[str, ...],
    expires_at: datetime | None,
    actor: ActorContext,
    functions: tuple[str, ...] = (),
) -> str:
    """Create a token and return it; it cannot be shown again."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    grant = _add(session, name, role, models, _digest(secret), expires_at, actor, functions)
    return f"mw_{grant.id}_{secret}"


def allow_certificate(
    session: Session,
    name: str,
    role: Role,
    models: tuple[str, ...],
    actor: ActorContext,
    expires_at: datetime | None = None,
    functions: tuple[str, ...] = (),
) -> Grant:
    """Give a role to the holders of certificates with this common name, replacing the previous grant."""
    for row in session.scalars(_of_certificate(name).where(GrantRow.revoked_at.is_(None))):
        _revoke(session, row, actor)
    return _add(session, name, role, models, "", expires_at, actor, functions)


def revoke(session: Session, grant_id: str, actor: ActorContext) -> Grant:
    """Revoke a grant.

    Raises:
        NotFound: it does not exist, or was revoked before.
    """
    row = session.get(GrantRow, grant_id)
    if row is None or row.revoked_at:
        raise NotFound(f"there is no active grant {grant_id!r}; `modelward token list` shows them")
    return _revoke(session, row, actor)


def list_grants(session: Session) -> list[Grant]:
    """Return every grant, newest first."""
    rows = session.scalars(select(GrantRow).order_by(GrantRow.created_at.desc(), GrantRow.grant_id))
    return list(map(_to_grant, rows))


def holder_of_token(session: Session, token: str, now: datetime) -> Identity | None:
    """Return the holder of a token; None for one that is invalid or no longer valid."""
    row = _row_of_token(session, token)
    return None if row is None else _identity(row, now)


def _row_of_token(session: Session, token: str) -> GrantRow | None:
    match = TOKEN.fullmatch(token)
    row = session.get(GrantRow, match[1]) if match else None
    if match is None or row is None or not hmac.compare_digest(row.digest, _digest(match[2])):
        return None
    return row


@dataclass(frozen=True)
class Ended:
    """A token that was valid earlier."""

    id: str
    name: str
    how: str
    """Such as "has expired"."""


def ended_token(session: Session, token: str, now: datetime) -> Ended | None:
    """Return why a token is no longer valid, when its secret matches; None for one that still is, or never was."""
    row = _row_of_token(session, token)
    if row is None or _identity(row, now):
        return None
    return Ended(row.grant_id, row.name, _how_ended(row, now))


def holder_of_certificate(session: Session, name: str, now: datetime) -> Identity | None:
    """Return the holder of a certificate: by its grant, or as a viewer of everything if none ever existed.

    None for one whose grant was revoked or has expired: revoking must not give more than the grant did.
    """
    rows = session.scalars(_of_certificate(name)).all()
    live = [holder for row in rows if (holder := _identity(row, now))]
    return live[0] if live else None if rows else Identity(name, Role.VIEWER)


def _of_certificate(name: str) -> Select[GrantRow]:
    return select(GrantRow).where(GrantRow.name == name, GrantRow.digest == "")


def _identity(row: GrantRow, now: datetime) -> Identity | None:
    if _how_ended(row, now):
        return None
    return Identity(row.name, Role(row.role), tuple(row.models), row.expires_at, tuple(row.functions))


def _how_ended(row: GrantRow, now: datetime) -> str:
    """Return why a grant is no longer valid; empty for one that is."""
    if row.revoked_at:
        return "was revoked"
    if row.expires_at and row.expires_at <= now:
        return "has expired"
    if not all(map(is_prefix, row.models)):  # Earlier versions accepted the empty text, which limits nothing.
        return "restricts its holder to something that is not a prefix of a model's name"
    return ""


def _add(
    session: Session,
    name: str,
    role: Role,
    models: tuple[str, ...],
    digest: str,
    expires_at: datetime | None,
    actor: ActorContext,
    functions: tuple[str, ...],
) -> Grant:
    _check(name, models, actor.at, expires_at, functions)
    row = GrantRow(
        grant_id=secrets.token_hex(ID_BYTES),
        name=name,
        role=role,
        models=list(models),
        digest=digest,
        created_at=actor.at,
        expires_at=expires_at,
        functions=list(dict.fromkeys(functions)),
    )
    session.add(row)
    return _recorded(session, row, actor)


def _check(
    name: str, models: tuple[str, ...], now: datetime, expires_at: datetime | None, functions: tuple[str, ...]
) -> None:
    problems = []
    if not (0 < len(name) <= 128 and name.isprintable() and name == name.strip()):
        problems.append(FieldViolation("name", "must have 1 to 128 printable characters, without spaces around them"))
    if wrong := [prefix for prefix in models if not is_prefix(prefix)]:
        fix = f"{wrong[0]!r} is no prefix of a model's name; leave it out for every model, repeat it for several"
        problems.append(FieldViolation("models", fix))
    if wrong := [function for function in functions if not is_function(function)]:
        fix = f"{wrong[0]!r} must have 1 to 32 lower-case letters, digits and hyphens, such as risk"
        problems.append(FieldViolation("functions", fix))
    if expires_at and expires_at <= now:
        problems.append(FieldViolation("expires", "must be in the future"))
    if problems:
        raise InvalidField(*problems)


def _revoke(session: Session, row: GrantRow, actor: ActorContext) -> Grant:
    row.revoked_at = actor.at
    session.flush()  # Before another grant replaces it.
    return _recorded(session, row, actor)


def _recorded(session: Session, row: GrantRow, actor: ActorContext) -> Grant:
    grant = _to_grant(row)
    audit.append(session, Kind.GRANT, "", to_record(row), actor)
    return grant


def to_record(row: GrantRow) -> RecordedGrant:
    """Return the audit record of a grant."""
    return RecordedGrant(**vars(_to_grant(row)), secret_sha256=row.digest)


def _to_grant(row: GrantRow) -> Grant:
    return Grant(
        id=row.grant_id,
        name=row.name,
        role=Role(row.role),
        models=tuple(row.models),
        kind="token" if row.digest else "certificate",
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        functions=tuple(row.functions),
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

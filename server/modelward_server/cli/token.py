"""Commands for tokens. They use the server's database directly, so they need no token."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from modelward.cli.output import Failure, Output
from modelward.cli.remote import formatted
from modelward.errors import ModelwardError
from modelward_server.cli.serve import ServeCommand, settings_of

ROLES = ("viewer", "trainer", "operator", "admin", "validator")


class LedgerCommand(ServeCommand):
    """A command with the settings that locate the database."""

    takes = ("data_dir", "database_url")


@click.group()
def token() -> None:
    """Create, list and revoke tokens, on a server's machine."""


@token.command(cls=LedgerCommand)
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="Role of its holder.")
@click.option("--models", multiple=True, metavar="PREFIX", help="Only models with this name prefix; may be repeated.")
@click.option(
    "--function", "functions", multiple=True, metavar="NAME", help="Function that it approves for; may be repeated."
)
@click.option("--expires", type=click.IntRange(min=1), metavar="DAYS", help="Days until it expires.")
@click.option("--certificate", is_flag=True, help="Grant to certificates with that common name, instead of a token.")
def create(
    name: str,
    role: str,
    models: tuple[str, ...],
    functions: tuple[str, ...],
    expires: int | None,
    certificate: bool,
    **flags: str | None,
) -> None:
    """Create a token for NAME, the actor of changes made with it, and print it this once."""
    from modelward.caller import Role
    from modelward_server.security import grants

    with _writing(flags) as (session, actor):
        expires_at = datetime.now(UTC) + timedelta(days=expires) if expires else None
        if certificate:
            grants.allow_certificate(session, name, Role(role), models, actor, expires_at, functions)
            return
        created = grants.create_token(session, name, Role(role), models, expires_at, actor, functions)
    click.echo(created)


@token.command("list", cls=LedgerCommand)
@formatted
def list_(out: Output, **flags: str | None) -> None:
    """List all grants; the tokens themselves are not stored."""
    from modelward_server.security.grants import list_grants

    with _writing(flags) as (session, _):
        listed = list_grants(session)
    out.rows(
        listed,
        ["id", "name", "kind", "role", "functions", "models", "created", "expires", "revoked"],
        lambda grant: [
            grant.id,
            grant.name,
            grant.kind,
            grant.role,
            ", ".join(grant.functions),
            ", ".join(f"{prefix}*" for prefix in grant.models) or "all",
            grant.created_at,
            grant.expires_at,
            grant.revoked_at,
        ],
        none="there are no grants",
    )


@token.command(cls=LedgerCommand)
@click.argument("grant_id", metavar="ID")
def revoke(grant_id: str, **flags: str | None) -> None:
    """Revoke the token or the certificate's role with this id; servers apply it within five seconds."""
    from modelward_server.security import grants

    with _writing(flags) as (session, actor):
        revoked = grants.revoke(session, grant_id, actor)
    click.echo(f"the {revoked.kind} of {revoked.name} is revoked")


@contextmanager
def _writing(flags: Mapping[str, str | None]) -> Iterator[Any]:
    """Open a transaction on the server's database, with the actor of its changes."""
    from modelward_server.security.admin_session import admin_session

    try:
        with admin_session(settings_of(flags)) as opened:
            yield opened
    except ModelwardError as error:
        raise Failure(error.message) from None

"""Commands for tokens. They work on the server's database, so whoever can run them needs no token."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from modelward.cli.output import Failure, Output
from modelward.errors import ModelwardError
from modelward_server.cli.serve import ServeCommand, settings_of

ROLES = ("viewer", "trainer", "operator", "admin")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")


class LedgerCommand(ServeCommand):
    """A command with the settings that say which database."""

    takes = ("data_dir", "database_url")


@click.group()
def token() -> None:
    """Make, list and revoke tokens, on a server's machine."""


@token.command(cls=LedgerCommand)
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="What its holder may do.")
@click.option("--models", multiple=True, metavar="PREFIX", help="Only models whose names begin so; may be repeated.")
@click.option("--expires", type=click.IntRange(min=1), metavar="DAYS", help="After how many days it ends.")
@click.option("--certificate", is_flag=True, help="For who has a certificate of that common name, in place of a token.")
def create(
    name: str, role: str, models: tuple[str, ...], expires: int | None, certificate: bool, **flags: str | None
) -> None:
    """Make a token for NAME, who will be the actor of what is done with it, and print it this once."""
    from modelward_server.identity import Role
    from modelward_server.security import grants

    with _writing(flags) as (session, caller):
        ends = datetime.now(UTC) + timedelta(days=expires) if expires else None
        if certificate:
            grants.allow_certificate(session, name, Role(role), models, caller, ends)
            return
        made = grants.create_token(session, name, Role(role), models, ends, caller)
    click.echo(made)


@token.command("list", cls=LedgerCommand)
@AS_JSON
def list_(as_json: bool, **flags: str | None) -> None:
    """List who was given what; the tokens themselves are nowhere."""
    from modelward_server.security.grants import list_grants

    with _writing(flags) as (session, _):
        found = list_grants(session)
    Output(as_json).rows(
        found,
        ["id", "name", "kind", "role", "models", "created", "expires", "revoked"],
        lambda grant: [
            grant.id,
            grant.name,
            grant.kind,
            grant.role,
            ", ".join(f"{prefix}*" for prefix in grant.models) or "all",
            grant.created_at,
            grant.expires_at,
            grant.revoked_at,
        ],
        none="nobody was given anything",
    )


@token.command(cls=LedgerCommand)
@click.argument("grant_id", metavar="ID")
def revoke(grant_id: str, **flags: str | None) -> None:
    """Revoke the token or certificate's role with this id; servers take note within five seconds."""
    from modelward_server.security import grants

    with _writing(flags) as (session, caller):
        revoked = grants.revoke(session, grant_id, caller)
    click.echo(f"the {revoked.kind} of {revoked.name} is revoked")


@contextmanager
def _writing(flags: Mapping[str, str | None]) -> Iterator[Any]:
    """Open a transaction on the server's database, and say who makes the change."""
    from modelward_server.security.admin_session import admin_session

    try:
        with admin_session(settings_of(flags)) as opened:
            yield opened
    except ModelwardError as error:
        raise Failure(error.message) from None

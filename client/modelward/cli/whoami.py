"""The command that shows who the caller is."""

from typing import TYPE_CHECKING

import click

from modelward import Caller
from modelward.cli.output import Output
from modelward.cli.remote import remote

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@remote
def whoami(client: "Client", out: Output) -> None:
    """Show who you are to the server, and what you may do."""
    caller = client.get_caller()
    facts = {
        "name": caller.name,
        "role": caller.role,
        "functions": ", ".join(caller.functions) or "none",
        "models": ", ".join(f"{prefix}*" for prefix in caller.model_prefixes) or "all",
        "expires (UTC)": caller.expires_at or "never",
        "authenticated": _authenticated(caller),
    }
    out.record(caller, facts)


def _authenticated(caller: Caller) -> str:
    return "yes" if caller.authenticated else "no, the server takes the name that you state"

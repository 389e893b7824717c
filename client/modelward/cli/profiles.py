"""The command that lists the profiles of the configuration file."""

import click

from modelward.cli.output import Failure, Output
from modelward.cli.profile_selection import configuration
from modelward.cli.remote import formatted
from modelward.shared.profiles import ProfileError


@click.command()
@formatted
def profiles(out: Output) -> None:
    """List the profiles of the configuration file.

    A profile has a name, a server's address, and how to call it; the file is described in docs/command.md.
    """
    file = configuration()
    try:
        listed = [file.profile(name) for name in file.names]
        default = file.default
    except ProfileError as error:
        raise Failure(str(error)) from None
    out.rows(
        listed,
        ["profile", "default", "server", "actor", "CA", "token"],
        lambda p: [p.name, p.name == default, p.server or "", p.actor or "", p.ca or "", p.token_source],
        none=f"there is no profile in {file.path}",
    )

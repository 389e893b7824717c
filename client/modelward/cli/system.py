"""The commands that show a server's settings, and the servers that share its ledger."""

from typing import TYPE_CHECKING

import click

from modelward.cli.output import Output
from modelward.cli.remote import remote

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@click.option("--given", is_flag=True, help="Only those that are not the default.")
@remote
def settings(client: "Client", out: Output, given: bool) -> None:
    """Show the server's settings, but no secrets."""
    found = [setting for setting in client.get_system().settings if setting.given or not given]
    out.rows(
        found,
        ["setting", "value", "source"],
        lambda setting: [setting.name, setting.shown, "given" if setting.given else "default"],
        none="every setting is the default",
    )


@click.command()
@remote
def replicas(client: "Client", out: Output) -> None:
    """List the servers that share the ledger."""
    system = client.get_system()
    out.rows(
        system.replicas,
        ["address", "machine", "process", "version", "started (UTC)", "last heartbeat (UTC)", "state"],
        lambda one: [
            one.address,
            one.machine,
            one.pid,
            one.version,
            one.started_at,
            one.seen_at,
            "silent" if one.silent else "answers" if one.replica_id == system.replica_id else "serves",
        ],
        none="no server has recorded a heartbeat yet",
    )

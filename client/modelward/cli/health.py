"""The command that checks a server's health."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from modelward.cli.output import Output
from modelward.cli.remote import remote

if TYPE_CHECKING:
    from modelward import Client


@click.command()
@remote
def health(client: "Client", out: Output) -> None:
    """Show the health of a server and its dependencies.

    These are the database and MLflow, the background tasks, and the confinement of models.

    The exit code is 1 if the server is not serving.
    """
    found = client.get_health()
    parts, confined = found.parts, {"models confined by": found.confinement}
    out.record(
        {**parts, "background": found.tasks, **confined}, {**parts, "background": _summary(found.tasks), **confined}
    )
    if parts["server"] != "serving":
        raise click.exceptions.Exit(1)


def _summary(tasks: Mapping[str, str]) -> str:
    """Report that all tasks run, or name those that do not."""
    failing = sorted(name for name, state in tasks.items() if state != "serving")
    return "serving" if not failing else f"not serving: {', '.join(failing)}; see the server's log"

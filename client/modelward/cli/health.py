"""The command that checks a server's health."""

import click
import grpc
from google.protobuf.empty_pb2 import Empty

from modelward import Client
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.shared.health import PARTS, confinement_of, list_method, states_of, tasks_of
from modelward.shared.retry import error_of


@click.command()
@remote
def health(client: Client, out: Output) -> None:
    """Show the health of a server and its dependencies.

    These are the database and MLflow, the background tasks, and the confinement of models.

    The exit code is 1 if the server is not serving.
    """
    states = _states(client)
    parts = {part: states.get(name, "unknown") for name, part in PARTS.items()}
    tasks = tasks_of(states)
    confined = {"models confined by": confinement_of(states)}
    out.record({**parts, "background": tasks, **confined}, {**parts, "background": _summary(tasks), **confined})
    if parts["server"] != "serving":
        raise click.exceptions.Exit(1)


def _summary(tasks: dict[str, str]) -> str:
    """Report that all tasks run, or name those that do not."""
    failing = sorted(name for name, state in tasks.items() if state != "serving")
    return "serving" if not failing else f"not serving: {', '.join(failing)}; see the server's log"


def _states(client: Client) -> dict[str, str]:
    call = client._channel.stub(list_method)
    try:
        return states_of(call(Empty(), timeout=client._timeout, metadata=client._metadata))
    except grpc.RpcError as error:
        raise error_of(error) from None

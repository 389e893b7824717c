"""The command that checks a server's health."""

from typing import Any

import click
import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct

from modelward import Client
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.shared.retry import error_of

PARTS = {"": "server", "database": "database", "mlflow": "MLflow"}
TASKS = "modelward.background."
"""Prefix of the background tasks' names."""
LIST = "/grpc.health.v1.Health/List"
STATES = ("unknown", "serving", "not serving", "service unknown")
"""The states of the standard health service, by their numbers."""
CONFINEMENT = "modelward.sandbox."
"""Prefix of the names of sandbox mechanisms, beyond the limits of time and memory."""


@click.command()
@remote
def health(client: Client, out: Output) -> None:
    """Show the health of a server and its dependencies.

    These are the database and MLflow, the background tasks, and the confinement of models.

    The exit code is 1 if the server is not serving.
    """
    states = _states(client)
    parts = {part: states.get(name, "unknown") for name, part in PARTS.items()}
    tasks = {name.removeprefix(TASKS): state for name, state in states.items() if name.startswith(TASKS)}
    confined = {"models confined by": _confinement(states)}
    out.record({**parts, "background": tasks, **confined}, {**parts, "background": _summary(tasks), **confined})
    if parts["server"] != "serving":
        raise click.exceptions.Exit(1)


def _summary(tasks: dict[str, str]) -> str:
    """Report that all tasks run, or name those that do not."""
    failing = sorted(name for name, state in tasks.items() if state != "serving")
    return "serving" if not failing else f"not serving: {', '.join(failing)}; see the server's log"


def _confinement(states: dict[str, str]) -> str:
    """Name the mechanisms that confine models; unknown while the server is starting."""
    parts = {name.removeprefix(CONFINEMENT): state for name, state in states.items() if name.startswith(CONFINEMENT)}
    holding = [name for name, state in parts.items() if state == "serving"]
    return ", ".join((*holding, "limits")) if parts else "not known yet"


def _list_method(channel: grpc.Channel) -> Any:
    """Return the method that lists the state of each service.

    No package has the messages of this call for protobuf 6. The answer has the encoding of a `Struct`: a map from names
    to messages whose first field is an enum, which is `null_value` in a `Struct`.
    """
    return channel.unary_unary(
        LIST, request_serializer=Empty.SerializeToString, response_deserializer=Struct.FromString
    )


def _states(client: Client) -> dict[str, str]:
    call = client._channel.stub(_list_method)
    try:
        answer = call(Empty(), timeout=client._timeout, metadata=client._metadata)
    except grpc.RpcError as error:
        raise error_of(error) from None
    return {name: STATES[value.null_value] for name, value in sorted(answer.fields.items())}

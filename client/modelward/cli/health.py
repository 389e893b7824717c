"""The command that checks a server's health."""

from typing import Any

import click
import grpc
from grpc_health.v1 import health_pb2

from modelward import Client
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.shared.retry import error_of

PARTS = {"": "server", "database": "database", "mlflow": "MLflow"}
TASKS = "modelward.background."
"""Prefix of the background tasks' names."""
LIST = "/grpc.health.v1.Health/List"
MESSAGES: Any = health_pb2
"""The types of the health service's messages do not include those of its `List` call."""
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


def _states(client: Client) -> dict[str, str]:
    call = client._channel.unary_unary(
        LIST,
        request_serializer=MESSAGES.HealthListRequest.SerializeToString,
        response_deserializer=MESSAGES.HealthListResponse.FromString,
    )
    try:
        answer = call(MESSAGES.HealthListRequest(), timeout=client._timeout, metadata=client._metadata)
    except grpc.RpcError as error:
        raise error_of(error) from None
    return {name: _word(one.status) for name, one in sorted(answer.statuses.items())}


def _word(status: int) -> str:
    name: str = MESSAGES.HealthCheckResponse.ServingStatus.Name(status)
    return name.lower().replace("_", " ")

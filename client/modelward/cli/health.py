"""The command that asks how a server is."""

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
"""What the names of background tasks begin with."""
LIST = "/grpc.health.v1.Health/List"
MESSAGES: Any = health_pb2
"""The types of the health service's messages do not know those of its call `List`."""
CONFINEMENT = "modelward.sandbox."
"""What the names of the parts begin with that may confine models, beside limits of time and memory."""


@click.command()
@remote
def health(client: Client, out: Output) -> None:
    """Say whether a server and what it needs are well.

    That is whether database and MLflow answer, whether the background tasks run, and what confines models.

    The exit code is 1 when the server does not serve.
    """
    states = _states(client)
    found = {said: states.get(name, "unknown") for name, said in PARTS.items()}
    tasks = {name.removeprefix(TASKS): state for name, state in states.items() if name.startswith(TASKS)}
    confined = {"models confined by": _confinement(states)}
    out.record({**found, "background": tasks, **confined}, {**found, "background": _summary(tasks), **confined})
    if found["server"] != "serving":
        raise click.exceptions.Exit(1)


def _summary(tasks: dict[str, str]) -> str:
    """Say that all tasks run, or name those that do not."""
    failing = sorted(name for name, state in tasks.items() if state != "serving")
    return "serving" if not failing else f"not serving: {', '.join(failing)}; the server's log says why"


def _confinement(states: dict[str, str]) -> str:
    """Name what holds models, which a server that has just begun does not know yet."""
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

"""The standard health service's list of states, by which a server shows its parts."""

from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct

from modelward.system import Health

PARTS = {"": "server", "database": "database", "mlflow": "MLflow"}
TASKS = "modelward.background."
"""Prefix of the background tasks' names."""
LIST = "/grpc.health.v1.Health/List"
STATES = ("unknown", "serving", "not serving", "service unknown")
"""The states of the standard health service, by their numbers."""
CONFINEMENT = "modelward.sandbox."
"""Prefix of the names of sandbox mechanisms, beyond the limits of time and memory."""


def list_method(channel: Any) -> Any:
    """Return the method that lists the state of each service.

    No package has the messages of this call for protobuf 6. The answer has the encoding of a `Struct`: a map from names
    to messages whose first field is an enum, which is `null_value` in a `Struct`.

    Args:
        channel: gRPC's, of either kind.
    """
    return channel.unary_unary(
        LIST, request_serializer=Empty.SerializeToString, response_deserializer=Struct.FromString
    )


def read_health(answer: Struct) -> Health:
    """Return the health in an answer of `list_method`."""
    states = states_of(answer)
    return Health(
        parts={part: states.get(name, "unknown") for name, part in PARTS.items()},
        services={name: state for name, state in states.items() if name.endswith("Service")},
        tasks=tasks_of(states),
        confinement=confinement_of(states),
    )


def states_of(answer: Struct) -> dict[str, str]:
    """Return the state of each service in an answer of `list_method`, by the service's name."""
    return {name: STATES[value.null_value] for name, value in sorted(answer.fields.items())}


def tasks_of(states: dict[str, str]) -> dict[str, str]:
    """Return the states of the background tasks, by their names."""
    return {name.removeprefix(TASKS): state for name, state in states.items() if name.startswith(TASKS)}


def confinement_of(states: dict[str, str]) -> str:
    """Name the mechanisms that confine models; unknown while the server is starting."""
    parts = {name.removeprefix(CONFINEMENT): state for name, state in states.items() if name.startswith(CONFINEMENT)}
    holding = [name for name, state in parts.items() if state == "serving"]
    return ", ".join((*holding, "limits")) if parts else "not known yet"

"""The system: the health of the server's parts, who the caller is to it, and the console itself."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty
from starlette.requests import Request

import modelward
from modelward import AsyncClient
from modelward.caller import Caller
from modelward.shared.health import PARTS, confinement_of, list_method, states_of, tasks_of
from modelward.shared.retry import CALL_ERRORS

TEMPLATE = "system"


@dataclass(frozen=True)
class View:
    """What the page shows; no setting of the server, because the contract tells none."""

    parts: Mapping[str, str]
    """The state of the server, the database and MLflow."""
    services: Mapping[str, str]
    """The state of each service of the contract."""
    tasks: Mapping[str, str]
    """The state of each background task."""
    confinement: str
    """The mechanisms that confine models."""
    caller: Caller
    server: str
    """The address of the server to which this console is connected."""
    console_version: str
    read_only: bool


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page.

    Raises:
        Unavailable: the server does not answer.
    """
    states, caller = await asyncio.gather(_states(client), client.get_caller())
    return View(
        parts={part: states.get(name, "unknown") for name, part in PARTS.items()},
        services={name: state for name, state in states.items() if name.endswith("Service")},
        tasks=tasks_of(states),
        confinement=confinement_of(states),
        caller=caller,
        server=client.target,
        console_version=modelward.__version__,
        read_only=request.app.state.read_only,
    )


async def _states(client: AsyncClient) -> dict[str, str]:
    call = client._channel.stub(list_method)
    try:
        return states_of(await call(Empty(), timeout=client._timeout))  # Health asks for no credential.
    except CALL_ERRORS as error:
        raise client._failure(error) from None

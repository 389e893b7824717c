"""The system: the health of the server's parts, its settings and replicas, who the caller is, and the console."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

import modelward
from modelward import AsyncClient
from modelward.caller import Caller, Role
from modelward.system import Health, SystemInfo

TEMPLATE = "system"


@dataclass(frozen=True)
class View:
    """What the page shows."""

    health: Health
    caller: Caller
    system: SystemInfo | None
    """Settings and replicas; None for who may not read them."""
    server: str
    """The address of the server to which this console is connected."""
    console_version: str
    read_only: bool


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page.

    Raises:
        Unavailable: the server does not answer.
    """
    health, caller = await asyncio.gather(client.get_health(), client.get_caller())
    return View(
        health=health,
        caller=caller,
        system=await client.get_system() if caller.role.covers(Role.OPERATOR) and not caller.model_prefixes else None,
        server=client.target,
        console_version=modelward.__version__,
        read_only=request.app.state.read_only,
    )

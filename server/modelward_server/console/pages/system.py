"""The system: the health of the server's parts, who the caller is to it, and the console itself."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

import modelward
from modelward import AsyncClient
from modelward.caller import Caller
from modelward.system import Health

TEMPLATE = "system"


@dataclass(frozen=True)
class View:
    """What the page shows; no setting of the server, because the contract tells none."""

    health: Health
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
    health, caller = await asyncio.gather(client.get_health(), client.get_caller())
    return View(
        health=health,
        caller=caller,
        server=client.target,
        console_version=modelward.__version__,
        read_only=request.app.state.read_only,
    )

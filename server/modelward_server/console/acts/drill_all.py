"""The start of a drill of every model in production."""

from dataclasses import dataclass, field
from uuid import uuid4

from starlette.requests import Request

from modelward import AsyncClient, Caller
from modelward.caller import Permission
from modelward_server.console.acts.act import Form
from modelward_server.console.guard import why_not_permitted

TEMPLATE = "drill_all"


@dataclass(frozen=True)
class View:
    """The page that asks whether a drill of all is meant."""

    models: int
    """How many have a version in production."""
    refusal: str
    """Why the user may not start it; empty if he may."""
    request_id: str = field(default_factory=lambda: str(uuid4()))


async def ask(client: AsyncClient, request: Request, caller: Caller) -> View:
    """Return the page."""
    return View((await client.get_overview()).totals.in_production, why_not_permitted(caller, Permission.DRILL))


async def make(client: AsyncClient, form: Form) -> str:
    """Start a drill of each model, and return the address of the page that shows them.

    Raises:
        ModelwardError: the server refuses it: the reason is blank, the role is too low.
    """
    await client.start_drill(
        all_in_production=True, reason=form.get("reason", ""), request_id=form.get("request_id", "")
    )
    return "/drills"

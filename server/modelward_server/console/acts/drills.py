"""The start of a drill of a model's halt."""

from urllib.parse import quote

from modelward import AsyncClient
from modelward.caller import Permission, Role
from modelward.errors import RoleTooLow
from modelward.lifecycle import Model, RolloutState
from modelward_server.console.acts.act import Act, Effect, Form, request_id
from modelward_server.console.guard import why_not_permitted

MOST_ENGINES = 20
"""The most engines that are named."""


async def _start(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    if dry_run:
        return await _started(client, model)
    (drill,) = await client.start_drill(
        [model.name], reason=form.get("reason", ""), request_id=request_id(form, dry_run)
    )
    return Effect(address=f"/drills/{quote(drill.drill_id, safe='')}")


async def _started(client: AsyncClient, model: Model) -> Effect:
    if why := why_not_permitted(await client.get_caller(), Permission.DRILL):
        raise RoleTooLow(why, needed=Permission.DRILL)
    rollout = await client.get_rollout(model.name)
    running = [one.engine for one in rollout.engines if one.state is not RolloutState.GONE]
    named = ", ".join(running[:MOST_ENGINES]) + (", …" if len(running) > MOST_ENGINES else "")
    told = f"{len(running)} running: {named}." if running else "No engine is running, so the drill ends at once."
    return Effect(lines=["Each engine does all that it does at a halt, but stops nothing, and answers.", told])


ACTS = {
    "drill": Act(
        "Start a drill of the halt",
        _start,
        lambda model, _: f"modelward drills start {model.name} --reason …",
        after="/drills?model={model}",
        role=Role.VIEWER,
        reason_required=True,
    )
}

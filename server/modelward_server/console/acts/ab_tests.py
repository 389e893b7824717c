"""The conclusion of an A/B test."""

import shlex
from collections.abc import Sequence

from modelward import AsyncClient
from modelward.abtest import AbAction, AbTest
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Model
from modelward_server.console.acts.act import Act, Choice, Effect, Form, field, request_id

ACTIONS = {
    AbAction.BY_RULE: "as the result indicates",
    AbAction.PROMOTE: "promote the winner",
    AbAction.ROLL_BACK: "roll back to the previous version",
    AbAction.NONE: "only record the winner",
}


def _action(form: Form) -> AbAction:
    action = form.get("action") or AbAction.BY_RULE
    if action not in set(AbAction):
        raise InvalidField(FieldViolation("action", f"is none of {', '.join(AbAction)}"))
    return AbAction(action)


async def _conclude(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    name = field(form, "test")
    test = await client.conclude_ab_test(
        name,
        winner=form.get("winner", ""),
        action=_action(form),
        reason=form.get("reason", ""),
        etag=form.get("etag", ""),
        model_etag=form.get("model_etag", "") if await _is_of_one_model(client, name) else "",
        dry_run=dry_run,
        request_id=request_id(form, dry_run),
    )
    return await _expected(client, test) if dry_run else Effect()


async def _is_of_one_model(client: AsyncClient, test: str) -> bool:
    """Return whether the model of the page is the one whose version in production changes, whatever wins."""
    return len({variant.version.model for variant in (await client.get_ab_test(test)).variants}) == 1


async def _expected(client: AsyncClient, test: AbTest) -> Effect:
    """Return what a conclusion that was tried would do, by another dry run of the move that it makes."""
    assert test.conclusion is not None
    winner = test.variant(test.conclusion.winner)
    lines = [f"{winner.name} ({winner.version}) wins; every unit gets it from then on."]
    if test.conclusion.result:
        lines.append(test.conclusion.result.summary)
    if test.conclusion.action is AbAction.PROMOTE:
        moved = await client.promote(winner.version, to="production", dry_run=True)
        return Effect(moved.gates, moved.archived, moved.version, lines)
    if test.conclusion.action is AbAction.ROLL_BACK:
        lines.append("The previous version is in production again.")
    else:
        lines.append("Nothing is promoted.")
    return Effect(lines=lines)


async def _choices(client: AsyncClient, form: Form) -> Sequence[Choice]:
    test = await client.get_ab_test(form["test"])
    winners = [("", "by the result"), *((one.name, f"{one.name} ({one.version})") for one in test.variants)]
    return (
        Choice("action", "What follows", _action(form), [(action.value, text) for action, text in ACTIONS.items()]),
        Choice("winner", "Winner", form.get("winner", ""), winners),
    )


async def _etag(client: AsyncClient, model: Model, form: Form) -> str:
    test = await client.get_ab_test(form["test"])
    if model.name not in {variant.version.model for variant in test.variants}:
        raise InvalidField(FieldViolation("test", f"has no version of {model.name}"))
    return test.etag


def _command(model: Model, form: Form) -> str:
    winner = f" --winner {shlex.quote(form['winner'])}" if form.get("winner") else ""
    return f"modelward ab conclude {shlex.quote(form['test'])}{winner} --action {_action(form)} --reason …"


ACTS = {
    "conclude": Act(
        "Conclude the A/B test {test}",
        _conclude,
        _command,
        after="/models/{model}/ab",
        etag=_etag,
        moves=True,
        fields=("test",),
        options=("action", "winner"),
        choices=_choices,
    )
}

"""Promotion, rollback, halt and resume of a model."""

from shlex import quote as shell

from modelward import AsyncClient
from modelward.errors import FailedPrecondition
from modelward.lifecycle import Halt, Model, Stage
from modelward_server.console.acts.act import Act, Effect, Form, about, field, request_id

ROLLOUT = "/models/{model}/rollout"


async def _promote(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    moved = await client.promote(
        f"{model.name}/{field(form, 'version')}",
        to=field(form, "to"),
        reason=form.get("reason", ""),
        etag=form.get("etag", ""),
        model_etag=form.get("model_etag", "") if form["to"] == Stage.PRODUCTION else "",
        dry_run=dry_run,
        request_id=request_id(form, dry_run),
    )
    return Effect(moved.gates, moved.archived, moved.version)


async def _version_etag(client: AsyncClient, model: Model, form: Form) -> str:
    return (await client.get_version(f"{model.name}/{form['version']}")).etag


async def _rollback(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    moved = await client.rollback(
        model.name,
        reason=form.get("reason", ""),
        etag=form.get("etag", ""),
        dry_run=dry_run,
        request_id=request_id(form, dry_run),
    )
    return Effect((), moved.archived, moved.version)


async def _halt(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    if not dry_run:
        await client.halt(model.name, reason=form.get("reason", ""), request_id=request_id(form, dry_run))
    elif model.halt:
        return Effect(lines=[f"It is halted already, {_told(model.halt)}", "The new reason replaces this one."])
    return Effect()


async def _resume(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    if dry_run:
        if not model.halt:
            raise FailedPrecondition(f"{model.name} is not halted")
        return Effect(lines=[f"It ends the halt {_told(model.halt)}"])
    await client.resume(
        model.name,
        reason=form.get("reason", ""),
        etag=form.get("etag", ""),
        request_id=request_id(form, dry_run),
    )
    return Effect()


def _told(halt: Halt) -> str:
    return f"by {halt.actor} since {halt.halted_at:%Y-%m-%d %H:%M} UTC: {halt.reason}"


ACTS = {
    "promote": Act(
        "Move version {version} to {to}",
        _promote,
        lambda model, form: f"modelward promote {about(model, form)} --to {shell(form['to'])} --reason …",
        after=ROLLOUT,
        etag=_version_etag,
        moves=True,
        fields=("version", "to"),
    ),
    "rollback": Act(
        "Roll back to the previous production version",
        _rollback,
        lambda model, _: f"modelward rollback {model.name} --reason …",
        after=ROLLOUT,
        moves=True,
    ),
    "halt": Act(
        "Halt: no engine resolves the model until it is resumed",
        _halt,
        lambda model, _: f"modelward halt {model.name} --reason …",
        after=ROLLOUT,
        reason_required=True,
        moves=True,
        danger=True,
    ),
    "resume": Act(
        "Resume",
        _resume,
        lambda model, _: f"modelward resume {model.name} --reason …",
        after=ROLLOUT,
        moves=True,
    ),
}

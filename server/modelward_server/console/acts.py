"""Changes: a dry run with a reason to give first, then the change itself, once however often the form is sent."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.requests import Request

from modelward import AsyncClient
from modelward.errors import FieldViolation, GatesFailed, InvalidField, ModelwardError
from modelward.lifecycle import GateResult, Model, ModelVersion, Rollout

Form = Mapping[str, str]


@dataclass(frozen=True)
class Effect:
    """What a change does, or would do."""

    gates: Sequence[GateResult] = ()
    archived: ModelVersion | None = None
    version: ModelVersion | None = None


@dataclass(frozen=True)
class View:
    """The page that asks whether a change is meant."""

    act: str
    title: str
    model: Model
    command: str
    """The same by command."""
    effect: Effect | None
    """What it would do; None if the server would refuse it."""
    refusal: str
    """Why it would; empty if it would not."""
    gates: Sequence[GateResult]
    rollout: Rollout | None
    fields: Mapping[str, str]
    """What the form sends besides the reason: the etag of what was shown, and the request id."""
    reason_required: bool
    request_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True)
class Act:
    """A kind of change."""

    title: str
    run: Callable[[AsyncClient, Model, Form, bool], Awaitable[Effect]]
    command: Callable[[Model, Form], str]
    reason_required: bool = False
    fields: tuple[str, ...] = ()
    """What the address names besides the model."""


def _field(form: Form, name: str) -> str:
    if name not in form:
        raise InvalidField(FieldViolation(name, "is missing"))
    return form[name]


async def _promote(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    moved = await client.promote(
        f"{model.name}/{_field(form, 'version')}",
        to=_field(form, "to"),
        reason=form.get("reason", ""),
        etag=form.get("etag", ""),
        dry_run=dry_run,
        request_id="" if dry_run else form.get("request_id", ""),
    )
    return Effect(moved.gates, moved.archived, moved.version)


async def _rollback(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    moved = await client.rollback(
        model.name,
        reason=form.get("reason", ""),
        etag=form.get("etag", ""),
        dry_run=dry_run,
        request_id="" if dry_run else form.get("request_id", ""),
    )
    return Effect((), moved.archived, moved.version)


async def _halt(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    if not dry_run:
        await client.halt(model.name, reason=form.get("reason", ""), request_id=form.get("request_id", ""))
    return Effect()


async def _resume(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    if not dry_run:
        await client.resume(model.name, reason=form.get("reason", ""), request_id=form.get("request_id", ""))
    return Effect()


ACTS = {
    "promote": Act(
        "Move version {version} to {to}",
        _promote,
        lambda model, form: f"modelward promote {model.name}/{form['version']} --to {form['to']} --reason …",
        fields=("version", "to"),
    ),
    "rollback": Act(
        "Roll back to the previous production version",
        _rollback,
        lambda model, _: f"modelward rollback {model.name} --reason …",
    ),
    "halt": Act(
        "Halt: no engine resolves the model until it is resumed",
        _halt,
        lambda model, _: f"modelward halt {model.name} --reason …",
        reason_required=True,
    ),
    "resume": Act("Resume", _resume, lambda model, _: f"modelward resume {model.name} --reason …"),
}


async def ask(client: AsyncClient, request: Request) -> View:
    """Try a change by a dry run, and return the page that asks whether it is meant.

    Raises:
        ModelNotFound: there is no such model.
        InvalidField: the address names no version or stage to promote.
    """
    name, act = request.path_params["model"], ACTS[request.path_params["act"]]
    given = {key: _field(request.query_params, key) for key in act.fields}
    model = await client.get_model(name)
    etag = (await client.get_version(f"{name}/{given['version']}")).etag if "version" in given else model.etag
    effect, refusal, gates = await _tried(client, act, model, given)
    return View(
        act=request.path_params["act"],
        title=act.title.format(**given),
        model=model,
        command=act.command(model, given),
        effect=effect,
        refusal=refusal,
        gates=gates,
        rollout=await client.get_rollout(name),
        fields={**given, "etag": etag},
        reason_required=act.reason_required,
    )


async def _tried(
    client: AsyncClient, act: Act, model: Model, form: Form
) -> tuple[Effect | None, str, Sequence[GateResult]]:
    try:
        effect = await act.run(client, model, form, True)
    except GatesFailed as error:
        return None, error.message, error.gates
    except ModelwardError as error:
        return None, error.message, ()
    return effect, "", effect.gates


async def act(client: AsyncClient, request: Request, form: Form) -> None:
    """Make the change that a form asks for.

    Raises:
        ModelwardError: the server refuses it: what was shown has changed, a gate fails, the role is too low.
        InvalidField: the form lacks a field.
    """
    model = await client.get_model(request.path_params["model"])
    await ACTS[request.path_params["act"]].run(client, model, form, False)

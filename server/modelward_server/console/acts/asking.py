"""The page that asks whether a change is meant, and the change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote
from uuid import uuid4

from starlette.requests import Request

from modelward import AsyncClient, Caller
from modelward.errors import EtagMismatch, GatesFailed, ModelwardError
from modelward.lifecycle import GateResult, Model, Rollout
from modelward_server.console.acts import ab_tests, act, approvals, drills, findings, retraining, reviews, stages
from modelward_server.console.acts.act import Act, Choice, Effect, Form, Input
from modelward_server.console.guard import why_refused

ACTS: Mapping[str, Act] = {
    **stages.ACTS,
    **ab_tests.ACTS,
    **retraining.ACTS,
    **approvals.ACTS,
    **findings.ACTS,
    **reviews.ACTS,
    **drills.ACTS,
}

OUTDATED = "something has changed since this page was shown. Below is what it would do now: read it, and decide again."


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
    """The engines that follow; None where none do."""
    fields: Mapping[str, str]
    """What the form sends besides the reason: the etags of what was shown."""
    choices: Sequence[Choice]
    """What can be chosen before it is tried again."""
    back: str
    """The address of the page where it began."""
    reason_taken: bool
    reason_required: bool
    inputs: Sequence[Input]
    danger: bool
    reason: str = ""
    """What was given in the form that was refused; empty at first."""
    problem: str = ""
    """Why the form was refused that was sent; empty if none was."""
    missing: approvals.Missing | None = None
    """The approvals that a move still needs."""
    request_id: str = field(default_factory=lambda: str(uuid4()))


async def ask(client: AsyncClient, request: Request, caller: Caller) -> View:
    """Try a change by a dry run, and return the page that asks whether it is meant.

    Args:
        client: the user's.
        request: its address names the change, the model, and what else the change needs.
        caller: the user; whose role is too low is told so, and gets no form.

    Raises:
        ModelNotFound: there is no such model.
        InvalidField: the address lacks what the change needs.
    """
    return await _asked(client, request, request.query_params, caller)


async def ask_again(client: AsyncClient, request: Request, form: Form, error: ModelwardError) -> View:
    """Return the page once more, with what was filled in and why it was refused.

    The request id stays: where an answer was lost, the change that is sent again is not made twice.

    Raises:
        ModelNotFound: there is no such model any more.
        InvalidField: the form lacks a field.
    """
    view = await _asked(client, request, form, request.state.caller)
    return replace(
        view,
        inputs=[replace(one, value=form.get(one.name, "")) for one in view.inputs],
        reason=form.get("reason", ""),
        problem=OUTDATED if isinstance(error, EtagMismatch) else error.message,
        request_id=form.get("request_id") or view.request_id,
    )


async def _asked(client: AsyncClient, request: Request, texts: Form, caller: Caller) -> View:
    name, kind = request.path_params["model"], ACTS[request.path_params["act"]]
    given = {key: act.field(texts, key) for key in kind.fields}
    given |= {key: text for key in kind.options if (text := texts.get(key, ""))}
    model = await client.get_model(name)
    etag = await kind.etag(client, model, given)
    effect, refusal, gates = await _tried(client, kind, model, given, caller)
    return View(
        act=request.path_params["act"],
        title=kind.title.format(**given),
        model=model,
        command=kind.command(model, given),
        effect=effect,
        refusal=refusal,
        gates=gates,
        rollout=await client.get_rollout(name) if kind.moves else None,
        fields={**given, "etag": etag, "model_etag": model.etag},
        choices=await kind.choices(client, given),
        back=f"/models/{quote(name)}" if kind.after == stages.ROLLOUT else address_after(kind, name, given),
        reason_taken=kind.reason_taken,
        reason_required=kind.reason_required,
        inputs=await kind.inputs(client, model, given) if effect else (),
        danger=kind.danger,
        missing=await approvals.missing(client, model, given, gates),
    )


async def _tried(
    client: AsyncClient, kind: Act, model: Model, form: Form, caller: Caller
) -> tuple[Effect | None, str, Sequence[GateResult]]:
    if refusal := why_refused(caller, kind.role):
        return None, refusal, ()
    try:
        effect = await kind.run(client, model, form, True)
    except GatesFailed as error:
        return None, error.message, error.gates
    except ModelwardError as error:
        return None, error.message, ()
    return effect, "", effect.gates


def address_after(kind: Act, model: str, given: Form) -> str:
    """Return the address of the page that shows what a change did."""
    fields = {name: quote(given[name], safe="") for name in kind.fields}
    return kind.after.format(model=quote(model), **fields)


async def make(client: AsyncClient, request: Request, form: Form) -> str:
    """Make the change that a form asks for, and return the address of the page that shows what it did.

    Raises:
        ModelwardError: the server refuses it: what was shown has changed, a gate fails, the role is too low.
        InvalidField: the form lacks a field.
    """
    kind, model = ACTS[request.path_params["act"]], await client.get_model(request.path_params["model"])
    given = {key: act.field(form, key) for key in kind.fields}
    effect = await kind.run(client, model, form, False)
    return effect.address or address_after(kind, model.name, given)

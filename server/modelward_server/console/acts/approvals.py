"""Approvals: the request for a transition, the decision of a function about it, and its withdrawal."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from shlex import quote as shell
from urllib.parse import quote

from modelward import AsyncClient
from modelward.caller import Role
from modelward.errors import (
    ApprovalClosed,
    ApprovalExists,
    ApprovalNotNeeded,
    FieldViolation,
    InvalidField,
    NotApprover,
)
from modelward.governance import Approval
from modelward.lifecycle import GateResult, Model, Stage
from modelward_server.console.acts.act import Act, Effect, Form, Input, field, lines_of, request_id
from modelward_server.console.acts.evidence import evidence_input
from modelward_server.console.independence import may_withdraw, why_not_decide
from modelward_server.console.pages.lists import first
from modelward_server.console.pages.parameters import instant_of, whole_number_of
from modelward_server.lifecycle.approval_gates import functions_at

GATE = "approvals."
"""The beginning of the names of the gates of approvals."""


@dataclass(frozen=True)
class Missing:
    """The approvals that a move still needs."""

    functions: Sequence[str]
    approval: Approval | None
    """The request that waits for them; None if none was made."""


async def missing(client: AsyncClient, model: Model, form: Form, gates: Sequence[GateResult]) -> Missing | None:
    """Return the approvals that gates say a move still needs; None if it needs none."""
    failed = [gate.gate.removeprefix(GATE) for gate in gates if not gate.passed and gate.gate.startswith(GATE)]
    if not failed:
        return None
    made = await open_request(client, model.name, whole_number_of(form, "version"), form["to"])
    has_approved = {one for one in made.functions if one not in made.waits_for} if made else set()
    return Missing([one for one in failed if one not in has_approved], made)


async def open_request(client: AsyncClient, model: str, version: int, to: str) -> Approval | None:
    """Return the request for a move that can still lead to it; None if there is none."""
    newest = await first(client.list_approvals(model, version=version), 20)
    return next((one for one in newest if one.state.is_open and one.to == to), None)


async def _request(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    version, to = f"{model.name}/{field(form, 'version')}", _stage(form)
    if dry_run:
        return await _requested(client, model, form, to)
    made = await client.request_approval(
        version,
        to=to,
        reason=form.get("wanted", ""),
        conditions=lines_of(form, "conditions"),
        evidence=lines_of(form, "evidence"),
        expires_at=instant_of(form, "expires_at"),
        request_id=request_id(form, dry_run),
    )
    return Effect(address=f"/approvals/{quote(made.approval_id, safe='')}")


async def _requested(client: AsyncClient, model: Model, form: Form, to: Stage) -> Effect:
    functions = functions_at(await client.get_promotion_policy(model.name), model.inventory.tier, to)
    if not functions:
        message = f"the policy of {model.name} asks for no approval of a transition to {to}"
        raise ApprovalNotNeeded(message, model=model.name, to=to)
    if other := await open_request(client, model.name, whole_number_of(form, "version"), to):
        raise ApprovalExists(f"{other.approval_id} for it is {other.state}", approval_id=other.approval_id)
    asked = f"It asks {', '.join(functions)}: each is decided by another person, none by you."
    return Effect(lines=[asked, "Once all have approved, one promotion can use it."])


def _stage(form: Form) -> Stage:
    to = field(form, "to")
    if to not in {Stage.STAGING, Stage.PRODUCTION}:
        raise InvalidField(FieldViolation("to", f"is neither {Stage.STAGING} nor {Stage.PRODUCTION}"))
    return Stage(to)


async def _request_inputs(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    return (
        Input("wanted", "Why the promotion is wanted", "lines", required=True),
        Input("conditions", "Conditions, one a line", "lines", longest=20_000),
        await evidence_input(client, model, form),
        Input("expires_at", "Expires at (UTC)", "datetime-local"),
    )


async def _decide(client: AsyncClient, model: Model, form: Form, dry_run: bool, *, approve: bool) -> Effect:
    if dry_run:
        return await _decided(client, form, approve=approve)
    decide = client.approve if approve else client.reject
    await decide(
        field(form, "approval"),
        function=field(form, "function"),
        comment=form.get("comment", ""),
        etag=form.get("etag", ""),
        request_id=request_id(form, dry_run),
    )
    return Effect()


async def _decided(client: AsyncClient, form: Form, *, approve: bool) -> Effect:
    """Return what a decision leads to.

    Raises:
        NotApprover, ApprovalClosed: the server would refuse it.
    """
    approval, function, caller = (
        await client.get_approval(form["approval"]),
        form["function"],
        await client.get_caller(),
    )
    if function not in approval.waits_for:
        raise ApprovalClosed(f"{approval.approval_id} is {approval.state}, and does not wait for {function}")
    version = await client.get_version(approval.version)
    if why := why_not_decide(approval, function, caller, version.registrants):
        raise NotApprover(why, approval_id=approval.approval_id)
    others = [name for name in approval.waits_for if name != function]
    after = f"It then waits for {', '.join(others)}." if others else "One promotion can then use it."
    asked = f"{approval.requested_by} wants to move {approval.version} to {approval.to}: {approval.reason}"
    conditions = [f"Condition: {text}" for text in approval.conditions]
    return Effect(lines=[asked, *conditions, after if approve else "That ends the request, whatever others decide."])


async def _withdraw(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    if not dry_run:
        await client.withdraw_approval(
            field(form, "approval"), etag=form.get("etag", ""), request_id=request_id(form, dry_run)
        )
        return Effect()
    approval, caller = await client.get_approval(form["approval"]), await client.get_caller()
    if not approval.state.is_open:
        raise ApprovalClosed(f"{approval.approval_id} is {approval.state}", approval_id=approval.approval_id)
    if not may_withdraw(approval, caller):
        raise NotApprover(f"{approval.requested_by} made it; only they or an operator withdraw it")
    return Effect(lines=[f"Nobody can decide or use the request for {approval.version} to {approval.to} any more."])


async def _approval_etag(client: AsyncClient, model: Model, form: Form) -> str:
    approval = await client.get_approval(form["approval"])
    if approval.version.model != model.name:
        raise InvalidField(FieldViolation("approval", f"is one of {approval.version.model}"))
    return approval.etag


async def _comment(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    return (Input("comment", "Comment, or conditions of your approval", "lines"),)


async def _refusal(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    return (Input("comment", "Why it is rejected", "lines", required=True),)


ACTS = {
    "request-approval": Act(
        "Request approval of version {version} for {to}",
        _request,
        lambda model, form: (
            f"modelward approvals request {model.name}/{shell(form['version'])} --to {shell(form['to'])} --reason …"
        ),
        after="/models/{model}/versions/{version}",
        role=Role.TRAINER,
        reason_taken=False,
        fields=("version", "to"),
        inputs=_request_inputs,
    ),
    "approve": Act(
        "Approve {approval} for {function}",
        partial(_decide, approve=True),
        lambda _, form: f"modelward approvals approve {shell(form['approval'])} --function {shell(form['function'])}",
        after="/approvals/{approval}",
        role=Role.VIEWER,
        etag=_approval_etag,
        reason_taken=False,
        fields=("approval", "function"),
        inputs=_comment,
    ),
    "reject": Act(
        "Reject {approval} for {function}",
        partial(_decide, approve=False),
        lambda _, form: (
            f"modelward approvals reject {shell(form['approval'])} --function {shell(form['function'])} --comment …"
        ),
        after="/approvals/{approval}",
        role=Role.VIEWER,
        etag=_approval_etag,
        reason_taken=False,
        fields=("approval", "function"),
        inputs=_refusal,
        danger=True,
    ),
    "withdraw-approval": Act(
        "Withdraw {approval}",
        _withdraw,
        lambda _, form: f"modelward approvals withdraw {shell(form['approval'])}",
        after="/approvals/{approval}",
        role=Role.TRAINER,
        etag=_approval_etag,
        reason_taken=False,
        fields=("approval",),
    ),
}

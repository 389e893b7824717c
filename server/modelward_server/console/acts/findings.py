"""Findings: opened, changed and closed."""

from collections.abc import Sequence
from shlex import quote as shell
from urllib.parse import quote

from modelward import AsyncClient
from modelward.caller import Role
from modelward.errors import FieldViolation, FindingClosed, InvalidField, NotIndependent, RoleTooLow
from modelward.findings import Finding, FindingSeverity, FindingState
from modelward.lifecycle import Model
from modelward_server.console.acts.act import Act, Effect, Form, Input, about, field, lines_of, request_id
from modelward_server.console.acts.evidence import evidence_input
from modelward_server.console.independence import why_not_close
from modelward_server.console.pages.parameters import choice_of, day_of, whole_number_of

SEVERITIES = [(one.value, one.value) for one in FindingSeverity]
LONGEST = 10_000


async def _open(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    number = whole_number_of(form, "version")
    if dry_run:
        about = (await client.get_version(f"{model.name}/{number}")).ref if number else f"{model.name} as a whole"
        return Effect(lines=[f"A finding about {about} is open until a reviewer who is independent of it closes it."])
    made = await client.open_finding(
        model.name,
        title=form.get("title", ""),
        severity=_severity(form),
        owner=form.get("owner", ""),
        version=number,
        description=form.get("description", ""),
        due=day_of(form, "due"),
        remedy=form.get("remedy", ""),
        evidence=lines_of(form, "evidence"),
        request_id=request_id(form, dry_run),
    )
    return Effect(address=f"/findings/{quote(made.finding_id, safe='')}")


async def _open_inputs(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    return (
        Input("title", "What is wrong, in a line", required=True, longest=200),
        Input("severity", "Severity", "choice", value=FindingSeverity.MEDIUM, options=SEVERITIES),
        Input(
            "owner", "Owner, who remedies it", required=True, value=next(iter(model.inventory.owners), ""), longest=256
        ),
        Input("due", "Due on", "date"),
        Input("description", "Details", "lines", longest=LONGEST),
        Input("remedy", "Planned remedy", "lines", longest=LONGEST),
        await evidence_input(client, model, form),
    )


def _severity(form: Form) -> FindingSeverity:
    severity = choice_of(form, "severity", FindingSeverity)
    if severity is None:
        raise InvalidField(FieldViolation("severity", "is missing"))
    return severity


async def _change(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    finding = await client.get_finding(field(form, "finding"))
    if dry_run:
        return await _may_change(client, finding)
    day = day_of(form, "due")
    severity, owner, remedy = _severity(form), form.get("owner", ""), form.get("remedy", "")
    await client.update_finding(
        finding.finding_id,
        owner=owner if owner != finding.owner else None,
        due=day,
        no_due=day is None and finding.due is not None,
        severity=severity if severity is not finding.severity else None,
        remedy=remedy if remedy.splitlines() != finding.remedy.splitlines() else None,
        etag=form.get("etag", ""),
        request_id=request_id(form, dry_run),
    )
    return Effect()


async def _may_change(client: AsyncClient, finding: Finding) -> Effect:
    caller = await client.get_caller()
    if finding.state is FindingState.CLOSED:
        raise FindingClosed(f"it was closed by {finding.closed_by}", finding_id=finding.finding_id)
    reviews = caller.role.covers(Role.VALIDATOR)
    if caller.name != finding.owner and not reviews:
        raise RoleTooLow(f"only its owner, {finding.owner}, and reviewers change it", role=caller.role)
    why = await why_not_close(client, finding, caller) if reviews else "only independent reviewers do"
    refused = f"You can neither lower its severity nor remove its due date: {why}." if why else ""
    return Effect(lines=[f"{finding.about}: {finding.title}", refused or "What you leave as it is stays."])


async def _change_inputs(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    finding = await client.get_finding(form["finding"])
    due = finding.due.isoformat() if finding.due else ""
    return (
        Input("severity", "Severity", "choice", value=finding.severity, options=SEVERITIES),
        Input("owner", "Owner, who remedies it", required=True, value=finding.owner, longest=256),
        Input("due", "Due on", "date", value=due),
        Input("remedy", "Planned remedy", "lines", value=finding.remedy, longest=LONGEST),
    )


async def _close(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    if not dry_run:
        await client.close_finding(
            field(form, "finding"),
            remedy=form.get("remedy", ""),
            comment=form.get("comment", ""),
            etag=form.get("etag", ""),
            request_id=request_id(form, dry_run),
        )
        return Effect()
    finding = await client.get_finding(form["finding"])
    if why := await why_not_close(client, finding, await client.get_caller()):
        raise NotIndependent(why, model=finding.model)
    return Effect(lines=[f"{finding.about}: {finding.title}", "A closed finding cannot be changed."])


async def _close_inputs(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    finding = await client.get_finding(form["finding"])
    return (
        Input("remedy", "Remedy that was made", "lines", required=True, value=finding.remedy, longest=LONGEST),
        Input("comment", "How that was verified, or what remains", "lines"),
    )


async def _finding_etag(client: AsyncClient, model: Model, form: Form) -> str:
    finding = await client.get_finding(form["finding"])
    if finding.model != model.name:
        raise InvalidField(FieldViolation("finding", f"is one of {finding.model}"))
    return finding.etag


ACTS = {
    "open-finding": Act(
        "Open a finding",
        _open,
        lambda model, form: f"modelward findings open {about(model, form)} --title … --severity … --owner …",
        after="/findings?model={model}",
        role=Role.VALIDATOR,
        reason_taken=False,
        options=("version",),
        inputs=_open_inputs,
    ),
    "change-finding": Act(
        "Change {finding}",
        _change,
        lambda _, form: f"modelward findings update {shell(form['finding'])} --owner …",
        after="/findings/{finding}",
        role=Role.VIEWER,
        etag=_finding_etag,
        reason_taken=False,
        fields=("finding",),
        inputs=_change_inputs,
    ),
    "close-finding": Act(
        "Close {finding}",
        _close,
        lambda _, form: f"modelward findings close {shell(form['finding'])} --remedy …",
        after="/findings/{finding}",
        role=Role.VALIDATOR,
        etag=_finding_etag,
        reason_taken=False,
        fields=("finding",),
        inputs=_close_inputs,
    ),
}

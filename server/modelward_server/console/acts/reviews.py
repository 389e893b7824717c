"""The record of a review."""

from collections.abc import Sequence

from modelward import AsyncClient
from modelward.caller import Role
from modelward.errors import FieldViolation, InvalidField, NotIndependent
from modelward.lifecycle import Model
from modelward.reviews import ReviewOutcome
from modelward_server.console.acts.act import Act, Effect, Form, Input, about, lines_of, request_id
from modelward_server.console.acts.evidence import evidence_input
from modelward_server.console.independence import why_not_review
from modelward_server.console.pages.lists import first
from modelward_server.console.pages.parameters import choice_of, day_of, whole_number_of

MOST_REASONS = 10
OUTCOMES = [("", "choose"), *((one.value, one.value.replace("_", " ")) for one in ReviewOutcome)]


async def _record(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    number = whole_number_of(form, "version")
    if dry_run:
        return await _recorded(client, model, number)
    outcome = choice_of(form, "outcome", ReviewOutcome)
    if outcome is None:
        raise InvalidField(FieldViolation("outcome", "is missing"))
    await client.record_review(
        model.name,
        outcome=outcome,
        comment=form.get("comment", ""),
        version=number,
        conditions=lines_of(form, "conditions"),
        evidence=lines_of(form, "evidence"),
        next_review=day_of(form, "next_review"),
        etag=form.get("etag", ""),
        request_id=request_id(form, dry_run),
    )
    return Effect()


async def _recorded(client: AsyncClient, model: Model, number: int) -> Effect:
    if why := await why_not_review(client, model.name, number, await client.get_caller()):
        raise NotIndependent(why, model=model.name)
    about = f"{model.name}/{number}" if number else f"{model.name} as a whole"
    due = await first(client.list_due_reviews(model.name), 1)
    reasons = [f"Due since {one.since:%Y-%m-%d}: {one.summary}" for each in due for one in each.reasons[:MOST_REASONS]]
    return Effect(lines=[f"It reviews {about}, and changes no stage.", *(reasons or ["No review is due."])])


async def _inputs(client: AsyncClient, model: Model, form: Form) -> Sequence[Input]:
    return (
        Input("outcome", "Outcome", "choice", required=True, options=OUTCOMES),
        Input("comment", "Why", "lines", required=True, longest=10_000),
        Input("conditions", "Conditions of an approval with conditions, one a line", "lines", longest=20_000),
        await evidence_input(client, model, form),
        Input("next_review", "Next review on", "date"),
    )


ACTS = {
    "record-review": Act(
        "Record a review",
        _record,
        lambda model, form: f"modelward reviews record {about(model, form)} --outcome … --comment …",
        after="/reviews?model={model}",
        role=Role.VALIDATOR,
        reason_taken=False,
        options=("version",),
        inputs=_inputs,
    )
}

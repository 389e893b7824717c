"""A retraining now, and the pause and resumption of a schedule."""

from shlex import quote as shell

from modelward import AsyncClient
from modelward.caller import Role
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Model
from modelward.schedules import SchedulePreview
from modelward_server.console.acts.act import Act, Effect, Form, field, request_id
from modelward_server.console.pages.lists import first

RETRAINING = "/retraining"
MOST_LINES = 10
"""The most reasons, and the most firings, that are shown."""


async def _retrain(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    job = await client.request_retraining(
        model.name, reason=form.get("reason", ""), dry_run=dry_run, request_id=request_id(form, dry_run)
    )
    if not dry_run:
        return Effect()
    due = await first(client.list_due(model.name), 1)
    reasons = [reason for one in due for reason in one.reasons]
    lines = [f"Due since {reason.since:%Y-%m-%d %H:%M} UTC: {reason.summary}" for reason in reasons[:MOST_LINES]]
    open_job = next((one.job_id for one in due if one.job_id), "")
    follows = f"The job {open_job}, which is {job.state} in the queue {job.queue}, gets this reason too."
    new = f"A job waits in the queue {job.queue} for a worker."
    return Effect(lines=[*(lines or ["No schedule makes the model due now."]), follows if open_job else new])


async def _pause(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    schedule = field(form, "schedule")
    if dry_run:
        preview = await client.preview_schedule(schedule, count=MOST_LINES)
        return Effect(
            lines=["It makes the model due no more, until it is resumed.", *_firings(preview, "It would fire")]
        )
    await client.pause_schedule(
        schedule, reason=form.get("reason", ""), etag=form.get("etag", ""), request_id=request_id(form, dry_run)
    )
    return Effect()


async def _resume(client: AsyncClient, model: Model, form: Form, dry_run: bool) -> Effect:
    schedule = field(form, "schedule")
    if dry_run:
        missed = (await client.get_schedule(schedule)).policy.catch_up
        preview = await client.preview_schedule(schedule, count=MOST_LINES)
        return Effect(lines=[f"Firings that were missed meanwhile: {missed}.", *_firings(preview, "It then fires")])
    await client.resume_schedule(schedule, etag=form.get("etag", ""), request_id=request_id(form, dry_run))
    return Effect()


def _firings(preview: SchedulePreview, verb: str) -> list[str]:
    by_clock = [f"{verb} at {one.at:%Y-%m-%d %H:%M} UTC: {one.summary}" for one in preview.firings]
    return [*(f"Its trigger: {text}." for text in preview.conditions), *by_clock]


async def _schedule_etag(client: AsyncClient, model: Model, form: Form) -> str:
    schedule = await client.get_schedule(form["schedule"])
    if schedule.model != model.name:
        raise InvalidField(FieldViolation("schedule", f"is one of {schedule.model}"))
    return schedule.etag


ACTS = {
    "retrain": Act(
        "Retrain now",
        _retrain,
        lambda model, _: f"modelward jobs request {model.name} --reason …",
        after=RETRAINING,
        role=Role.TRAINER,
    ),
    "pause-schedule": Act(
        "Pause the schedule {schedule}",
        _pause,
        lambda _, form: f"modelward schedule pause {shell(form['schedule'])} --reason …",
        after=RETRAINING,
        etag=_schedule_etag,
        fields=("schedule",),
    ),
    "resume-schedule": Act(
        "Resume the schedule {schedule}",
        _resume,
        lambda _, form: f"modelward schedule resume {shell(form['schedule'])}",
        after=RETRAINING,
        etag=_schedule_etag,
        reason_taken=False,
        fields=("schedule",),
    ),
}

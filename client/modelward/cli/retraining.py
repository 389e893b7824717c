"""Commands about retraining."""

import click

from modelward import Client, Cron, Every, OnDrift
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.retraining import DueReason, Trigger


@click.command()
@remote
def due(client: Client, out: Output) -> None:
    """List the models that are due for retraining, and why."""
    out.rows(
        list(client.list_due()),
        ["model", "version", "due since (UTC)", "job"],
        lambda d: [d.model, d.version, d.due_since, d.job_state or "none"],
        prose=("why", lambda d: why(d.reasons)),
        none="no model is due",
    )


def why(reasons: tuple[DueReason, ...]) -> str:
    return "; ".join(reason.summary for reason in reasons)


@click.command()
@click.argument("model", default="")
@remote
def schedules(client: Client, out: Output, model: str) -> None:
    """List the retraining schedules of MODEL, or of all."""
    out.rows(
        list(client.list_schedules(model)),
        ["schedule", "model", "paused", "description"],
        lambda s: [s.schedule_id, s.model, s.pause_reason or s.paused, s.description],
        prose=("due", lambda s: ", or ".join(map(_in_words, s.triggers))),
        none="there is no schedule",
    )


def _in_words(trigger: Trigger) -> str:
    if isinstance(trigger, Every):
        return f"{str(trigger.span).removesuffix(', 0:00:00')} after the last training"
    if isinstance(trigger, Cron):
        return f"at {trigger.expression} in {trigger.time_zone}"
    if isinstance(trigger, OnDrift):
        return "on drift" if trigger.min_score is None else f"on drift with a score from {trigger.min_score:g}"
    kind, bound = trigger.bound
    return f"when {trigger.metric} is {kind.replace('_', ' ')} {bound:g}"

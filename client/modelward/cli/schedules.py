"""Commands about schedules: what makes models due, when they fire next, and what became of their firings."""

from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import click

from modelward import (
    AtSession,
    CatchUp,
    Client,
    Cron,
    Every,
    FreezeWindow,
    OnDrift,
    OnPerformance,
    Overlap,
    Schedule,
    SchedulePolicy,
    SessionChoice,
)
from modelward.cli.options import REASON, Instant, Measurement, Span, Window, limit
from modelward.cli.output import Output
from modelward.cli.remote import remote
from modelward.retraining import Trigger

MODEL = click.argument("model", default="")
SCHEDULE_ID = click.argument("schedule_id", metavar="SCHEDULE")


@click.group()
def schedule() -> None:
    """Create, look at, pause and resume retraining schedules."""


def _list(client: Client, out: Output, model: str) -> None:
    out.rows(
        list(client.list_schedules(model)),
        ["schedule", "model", "paused", "description"],
        lambda s: [s.schedule_id, s.model, s.pause_reason or s.paused, s.description],
        prose=("due", lambda s: ", or ".join(map(_in_words, s.triggers))),
        none="there is no schedule",
    )


@click.command()
@MODEL
@remote
def schedules(client: Client, out: Output, model: str) -> None:
    """List the retraining schedules of MODEL, or of all."""
    _list(client, out, model)


@schedule.command("list")
@MODEL
@remote
def list_(client: Client, out: Output, model: str) -> None:
    """List the schedules of MODEL, or of all."""
    _list(client, out, model)


@schedule.command()
@SCHEDULE_ID
@click.option("--after", type=Instant(), metavar="TIME", help="Begin behind this time (ISO 8601); now by default.")
@limit(10)
@remote
def preview(client: Client, out: Output, schedule_id: str, after: datetime | None, limit: int) -> None:
    """Show when SCHEDULE would fire next, and what it would skip."""
    out.rows(
        list(client.preview_schedule(schedule_id, after=after, count=limit).firings),
        ["when (UTC)", "trigger", "local"],
        lambda f: [f.at, f.trigger, f.summary],
        prose=("skipped", lambda f: f.skipped),
        none="it never fires by the clock",
    )


@schedule.command()
@click.argument("model")
@click.option("--id", "schedule_id", default="", metavar="NAME", help="Its id; the server makes one by default.")
@click.option("--every", type=Span(), help="Due so long after the last training, as 90d.")
@click.option("--cron", metavar="EXPRESSION", help="Due at these times, as '30 17 * * FRI'.")
@click.option("--zone", default="UTC", metavar="ZONE", help="The zone of --cron and of the day of --jobs-per-day.")
@click.option("--calendar", metavar="MIC", help="Due by the sessions of this exchange, as XNYS.")
@click.option("--sessions", type=click.Choice([one.value for one in SessionChoice]), default="every", show_default=True)
@click.option("--after-open", type=Span(), help="So long after the opening of those sessions.")
@click.option("--after-close", type=Span(), help="So long after their close, as 30m.")
@click.option("--drift", is_flag=True, help="Due on drift.")
@click.option("--below", type=Measurement(), multiple=True, metavar="METRIC=NUMBER", help="Due when a metric is below.")
@click.option("--above", type=Measurement(), multiple=True, metavar="METRIC=NUMBER", help="Due when a metric is above.")
@click.option("--start", type=Instant(), metavar="TIME", help="In force from then on.")
@click.option("--end", type=Instant(), metavar="TIME", help="In force until then.")
@click.option("--jitter", type=Span(), help="Each firing comes later by a part of this.")
@click.option("--catch-up", type=click.Choice([one.value for one in CatchUp]), default="once", show_default=True)
@click.option("--overlap", type=click.Choice([one.value for one in Overlap]), default="coalesce", show_default=True)
@click.option("--cool-down", type=Span(), help="No new job so long after the last one.")
@click.option("--jobs-per-day", type=click.IntRange(min=0), default=0, metavar="NUMBER", help="No more jobs in a day.")
@click.option("--freeze", type=Window(), multiple=True, metavar="FROM/UNTIL", help="Fires not between these times.")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@remote
def create(client: Client, out: Output, model: str, schedule_id: str, description: str, **given: Any) -> None:
    """Create a schedule for MODEL; any one of its triggers makes it due."""
    made = client.create_schedule(
        model,
        every=given["every"],
        cron=Cron(given["cron"], given["zone"]) if given["cron"] is not None else None,
        session=_session(given),
        drift=given["drift"],
        performance=_bounds(given),
        schedule_id=schedule_id,
        description=description,
        policy=_policy(given),
    )
    out.say(made, f"{made.schedule_id} makes {model} due {_all_in_words(made)}")


@schedule.command()
@SCHEDULE_ID
@REASON
@remote
def pause(client: Client, out: Output, schedule_id: str, reason: str) -> None:
    """Stop SCHEDULE from firing until it is resumed."""
    paused = client.pause_schedule(schedule_id, reason=reason)
    out.say(paused, f"{schedule_id} is paused")


@schedule.command()
@SCHEDULE_ID
@remote
def resume(client: Client, out: Output, schedule_id: str) -> None:
    """End the pause of SCHEDULE."""
    resumed = client.resume_schedule(schedule_id)
    out.say(resumed, f"{schedule_id} runs; what was missed: {resumed.policy.catch_up}")


@click.command()
@MODEL
@click.option("--schedule", "schedule_id", default="", metavar="NAME", help="Only firings of this schedule.")
@limit(20)
@remote
def firings(client: Client, out: Output, model: str, schedule_id: str, limit: int) -> None:
    """List what became of the firings for MODEL, or of all."""
    out.rows(
        list(islice(client.list_firings(model, schedule_id=schedule_id), limit)),
        ["when (UTC)", "schedule", "model", "outcome", "job"],
        lambda f: [f.fired_at, f.schedule_id, f.model, f.outcome, f.job_id],
        prose=("why", lambda f: f.summary),
        none="nothing has fired",
    )


def _session(given: dict[str, Any]) -> AtSession | None:
    if given["calendar"] is None:
        return None
    after_close = given["after_close"]
    if given["after_open"] is None and after_close is None:
        after_close = timedelta(0)
    if given["after_open"] is not None and after_close is not None:
        raise click.UsageError("give exactly one of --after-open and --after-close")
    return AtSession(given["calendar"], SessionChoice(given["sessions"]), given["after_open"], after_close)


def _bounds(given: dict[str, Any]) -> list[OnPerformance]:
    below = [OnPerformance(metric, below=number) for metric, number in given["below"]]
    return below + [OnPerformance(metric, above=number) for metric, number in given["above"]]


def _policy(given: dict[str, Any]) -> SchedulePolicy:
    return SchedulePolicy(
        starts_at=given["start"],
        ends_at=given["end"],
        jitter=given["jitter"] or timedelta(0),
        catch_up=CatchUp(given["catch_up"]),
        overlap=Overlap(given["overlap"]),
        cool_down=given["cool_down"] or timedelta(0),
        jobs_per_day=given["jobs_per_day"],
        freezes=tuple(FreezeWindow(begin, end) for begin, end in given["freeze"]),
        time_zone=given["zone"],
    )


def _all_in_words(made: Schedule) -> str:
    return ", or ".join(map(_in_words, made.triggers))


def _in_words(trigger: Trigger) -> str:
    if isinstance(trigger, Every):
        return f"{_span(trigger.span)} after the last training"
    if isinstance(trigger, Cron):
        return f"at {trigger.expression} in {trigger.time_zone}"
    if isinstance(trigger, AtSession):
        moment = "close" if trigger.after_open is None else "opening"
        return f"{_span(trigger.offset)} after the {moment} of {trigger.calendar} ({trigger.sessions})"
    if isinstance(trigger, OnDrift):
        return "on drift" if trigger.min_score is None else f"on drift with a score from {trigger.min_score:g}"
    kind, bound = trigger.bound
    return f"when {trigger.metric} is {kind.replace('_', ' ')} {bound:g}"


def _span(span: timedelta) -> str:
    return str(span).removesuffix(", 0:00:00")

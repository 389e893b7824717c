"""The command that follows changes."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import singledispatch
from typing import TYPE_CHECKING

import click
from rich.text import Text

from modelward import EventKind, ModelEvent
from modelward._record import counted
from modelward.cli.completion import complete_models
from modelward.cli.options import pairs
from modelward.cli.output import STYLES, Output, as_text
from modelward.cli.remote import remote
from modelward.cli.time_zone import heading_text, time_text
from modelward.drills import Drill
from modelward.findings import Finding
from modelward.governance import Approval
from modelward.lifecycle import (
    DriftAlarm,
    EngineStatus,
    Halt,
    JobChange,
    Model,
    ModelVersion,
    PerformanceAlarm,
    Transition,
)
from modelward.shared.figures import metric, statistic

if TYPE_CHECKING:
    from modelward import Client

SEVERITIES = {
    EventKind.HALTED: "critical",
    EventKind.DRIFT_ALARM: "critical",
    EventKind.PERFORMANCE_ALARM: "critical",
    EventKind.RESUMED: "ok",
}
COLUMNS = ["time (UTC)", "event", "model", "what", "resume token"]
"""The columns of CSV."""
KIND_WIDTH = max(map(len, EventKind))


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL...]", shell_complete=complete_models)
@pairs("--tag", "tags", "Only models with this tag.")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([kind.value for kind in EventKind]),
    multiple=True,
    help="Only these events; all but engine, job, approval and finding by default.",
)
@click.option("--since", "resume_token", default="", metavar="TOKEN", help="Continue after the event with this token.")
@remote
def watch(
    client: "Client",
    out: Output,
    models: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    kinds: tuple[str, ...],
    resume_token: str,
) -> None:
    """Follow changes of models as they happen, until Ctrl-C.

    Each event is a line: of a table, of JSON or of CSV. When the connection breaks, it is restored without loss.
    """
    watched = _Watched(client, dict(tags), kinds, resume_token)
    try:
        out.follow(watched.events(models), COLUMNS, _row, _line, heading=_heading())
    except KeyboardInterrupt:
        if watched.token and out.form == "table":
            click.echo(f"continue with --since {watched.token}", err=True)


class _Watched:
    """The events of the models that have certain tags."""

    def __init__(self, client: "Client", tags: Mapping[str, str], kinds: Collection[str], token: str) -> None:
        self._client = client
        self._tags = tags
        self._kinds = kinds
        self._matches: dict[str, bool] = {}
        self.token = token

    def events(self, models: Collection[str]) -> Iterator[ModelEvent]:
        # Only the state of a model says that its tags have changed.
        kinds = {*self._kinds, EventKind.STATE} if self._kinds and self._tags else self._kinds
        events = self._client.watch(list(models), kinds=sorted(kinds), changes_only=True, resume_token=self.token)
        for event in events:
            if self._has_tags(event) and (not self._kinds or event.kind in self._kinds):
                yield event
            self.token = event.resume_token or self.token

    def _has_tags(self, event: ModelEvent) -> bool:
        if not self._tags:
            return True
        if isinstance(event.subject, Model):
            self._matches[event.model] = self._tags.items() <= event.subject.tags.items()
        elif event.model not in self._matches:
            self._matches[event.model] = self._tags.items() <= self._client.get_model(event.model).tags.items()
        return self._matches[event.model]


def _row(event: ModelEvent) -> list[object]:
    return [event.happened_at, event.kind, event.model, _words(event.subject, event), event.resume_token]


def _heading() -> Text:
    time = heading_text("time (UTC)").ljust(len(time_text(datetime.now(UTC))))
    return Text("  ").join(Text(name, "bold") for name in (time, "event".ljust(KIND_WIDTH), "what"))


def _line(event: ModelEvent) -> Text:
    style = STYLES.get(SEVERITIES.get(event.kind, ""), "")
    kind = Text(event.kind.replace("_", " ").ljust(KIND_WIDTH), style)
    return Text("  ").join([as_text(event.happened_at), kind, as_text(_words(event.subject, event))])


@singledispatch
def _words(subject: object, event: ModelEvent) -> str:
    """Return what happened, beginning with the model or the version concerned."""
    return event.model


@_words.register
def _(model: Model, event: ModelEvent) -> str:
    production = f"/{model.production_version} is in production" if model.production_version else " has no production"
    return f"{model.name}{production}" if not model.halt else f"{model.name} is halted"


@_words.register
def _(version: ModelVersion, event: ModelEvent) -> str:
    return f"{version} by {version.created_by}" if event.kind is EventKind.REGISTERED else str(version)


@_words.register
def _(transition: Transition, event: ModelEvent) -> str:
    come_from = f" from {transition.from_stage}" if transition.from_stage else ""
    return f"{transition.version}{come_from} to {transition.to_stage} {_by(transition.actor, transition.reason)}"


@_words.register
def _(halt: Halt, event: ModelEvent) -> str:
    return f"{event.model} {_by(halt.actor, halt.reason)}"


@_words.register
def _(alarm: DriftAlarm, event: ModelEvent) -> str:
    return f"{alarm.version} score {statistic(alarm.score)}, report {alarm.report_id}"


@_words.register
def _(alarm: PerformanceAlarm, event: ModelEvent) -> str:
    return f"{alarm.version} {alarm.metric} {metric(alarm.value)}, before {metric(alarm.baseline)}"


@_words.register
def _(engine: EngineStatus, event: ModelEvent) -> str:
    failure = f"; could not load {engine.failure.version}: {engine.failure.reason}" if engine.failure else ""
    return f"{event.model}/{engine.version} on {engine.engine}, {engine.state}{failure}"


@_words.register
def _(job: JobChange, event: ModelEvent) -> str:
    return f"{event.model} {job.job_id} {job.state}{f' by {job.holder}' if job.holder else ''}"


@_words.register
def _(approval: Approval, event: ModelEvent) -> str:
    waits = f", waits for {', '.join(approval.waits_for)}" if approval.waits_for else ""
    return f"{approval.version} to {approval.to} {approval.state}{waits}, {approval.approval_id}"


@_words.register
def _(finding: Finding, event: ModelEvent) -> str:
    by = f"closed by {finding.closed_by}" if finding.closed_by else f"open, of {finding.owner}"
    return f"{finding.about} {finding.severity} finding {by}: {finding.title}, {finding.finding_id}"


@_words.register
def _(drill: Drill, event: ModelEvent) -> str:
    engines = counted(len(drill.engines), "engine")
    if drill.ended_at is None:
        return f"{drill.model} drill of {engines} {_by(drill.started_by, drill.reason)}, {drill.drill_id}"
    return f"{drill.model} drill ended, {drill.proven} of {engines} proven, {drill.drill_id}"


def _by(actor: str, reason: str) -> str:
    return f"by {actor}: {reason}" if reason else f"by {actor}"

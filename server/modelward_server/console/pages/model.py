"""One model: what is in production, and what was; its versions, its engines and its drift."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request

from modelward import AsyncClient
from modelward.lifecycle import EngineStatus, Model, ModelVersion, Stage, Transition
from modelward_server.console.drawing import Bar, Sparkline, bars, sparkline
from modelward_server.console.pages.as_of import AsOf, fetch_as_of
from modelward_server.console.pages.governance import Governance, governance_of
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.console.pages.parameters import instant

TEMPLATE = "model"
REPORTS = 20
"""The most drift reports of the sparkline."""


@dataclass(frozen=True)
class Period:
    """A period in which a version was in production."""

    version: int
    begun: datetime
    ended: datetime | None
    """None while it is."""
    promotion: Transition


@dataclass(frozen=True)
class View:
    """What the page shows."""

    model: Model
    production: ModelVersion | None
    versions: Sequence[ModelVersion]
    more_versions: bool
    transitions: Sequence[Transition]
    more_transitions: bool
    periods: Sequence[Period]
    timeline: Sequence[Bar]
    as_of: AsOf | None
    engines: Sequence[EngineStatus]
    drift: Sparkline | None
    governance: Governance


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page of the model in the address; `as_of` in its query is an instant in ISO 8601, UTC without a zone.

    Raises:
        ModelNotFound: there is no such model.
        InvalidField: `as_of` is not an instant.
    """
    name, at = request.path_params["model"], instant(request, "as_of")
    model = await client.get_model(name)
    versions, transitions, rollout, governance = await asyncio.gather(
        first(client.list_versions(name), ROWS),
        first(client.list_transitions(name), ROWS),
        client.get_rollout(name),
        governance_of(client, name),
    )
    production = await client.get_version(f"{name}/{model.production_version}") if model.production_version else None
    reports = (
        await first(client.list_drift_reports(name, version=model.production_version), REPORTS) if production else ()
    )
    periods = production_periods(transitions)
    return View(
        model=model,
        production=production,
        versions=versions,
        more_versions=len(versions) == ROWS,
        transitions=transitions,
        more_transitions=len(transitions) == ROWS,
        periods=periods,
        timeline=bars([(f"version {one.version}", one.begun, one.ended) for one in periods], datetime.now(UTC)),
        as_of=await fetch_as_of(client, name, at) if at else None,
        engines=rollout.engines[:ROWS],
        drift=sparkline([(one.score, one.drift_detected, one.created_at) for one in reversed(reports)]),
        governance=governance,
    )


def production_periods(transitions: Sequence[Transition]) -> list[Period]:
    """Return when which version was in production, the newest first.

    Args:
        transitions: of one model, the newest first.
    """
    ended: datetime | None = None
    periods = []
    for move in transitions:
        if move.to_stage is Stage.PRODUCTION:
            periods.append(Period(move.version.version, move.moved_at, ended, move))
            ended = move.moved_at
        elif move.from_stage is Stage.PRODUCTION and not move.displaced_by:
            ended = move.moved_at
    return periods

"""What was known about a model at an instant, and nothing that was learnt later."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelward import AsyncClient
from modelward.comparison import Comparison
from modelward.drift import DriftReport
from modelward.lifecycle import EnginePeriod, Transition, VersionRef
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.console.pages.parameters import MOMENT


@dataclass(frozen=True)
class AsOf:
    """What was known about a model."""

    at: datetime
    existed: bool
    """Whether the model existed."""
    promotion: Transition | None
    """The promotion of what was in production, with its gates; None where nothing was."""
    drift: DriftReport | None
    """The version's last report until then; None if none is kept."""
    comparison: Comparison | None
    """The last comparison until then with the version; None if none is among the last `ROWS` of the model."""
    engines: Sequence[EnginePeriod]
    """Which engines ran which version, by name."""


async def fetch_as_of(client: AsyncClient, model: str, at: datetime) -> AsOf:
    """Fetch what was known about a model at an instant."""
    # Of all names with this prefix, the name itself is the first.
    found = await first(client.list_production_versions(as_of=at, name_prefix=model), 1)
    if not found or found[0].model != model:
        return AsOf(at, existed=False, promotion=None, drift=None, comparison=None, engines=())
    promotion = found[0].promotion
    ref = promotion.version if promotion else None
    drift, comparison, engines = await asyncio.gather(
        _drift(client, ref, at), _comparison(client, ref, at), _engines(client, model, at)
    )
    return AsOf(at, existed=True, promotion=promotion, drift=drift, comparison=comparison, engines=engines)


async def _drift(client: AsyncClient, ref: VersionRef | None, at: datetime) -> DriftReport | None:
    if ref is None:
        return None
    reports = client.list_drift_reports(ref.model, version=ref.version, created_before=at + MOMENT)
    return next(iter(await first(reports, 1)), None)


async def _comparison(client: AsyncClient, ref: VersionRef | None, at: datetime) -> Comparison | None:
    if ref is None:
        return None
    comparisons = await first(client.list_comparisons(ref.model, created_before=at + MOMENT), ROWS)
    return next((one for one in comparisons if ref in {result.version for result in one.results}), None)


async def _engines(client: AsyncClient, model: str, at: datetime) -> Sequence[EnginePeriod]:
    periods = await first(client.list_engine_periods(model, ended_after=at, started_before=at + MOMENT), ROWS)
    running = (one for one in periods if one.ended_at is None or one.ended_at > at)
    return sorted(running, key=lambda one: one.engine)

"""One version, and the evidence of its promotions: reference, training, comparison, gates, who, and who ran it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.comparison import Comparison
from modelward.drift import DriftReport, Reference
from modelward.lifecycle import EnginePeriod, ModelVersion, Stage, Transition
from modelward.retraining import Job
from modelward_server.console.pages.governance import Governance, governance_of_version
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.lifecycle.stages import LEGAL_MOVES
from modelward_server.reports.charts import Curve, Logits, cost_curves, logits

TEMPLATE = "version"


@dataclass(frozen=True)
class View:
    """What the page shows."""

    version: ModelVersion
    references: Sequence[Reference]
    job: Job | None
    """The retraining job that made it; None if none of the newest did."""
    comparisons: Sequence[Comparison]
    """Those of the newest in which it took part."""
    cost_curve: Curve | None
    """Its Sharpe ratio over the cost, by the newest of them with returns."""
    logits: Logits | None
    """The logits of the probability of overfitting, by the trials with which it was registered."""
    transitions: Sequence[Transition]
    engines: Sequence[EnginePeriod]
    reports: Sequence[DriftReport]
    next_stages: Sequence[Stage]
    governance: Governance


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page of the version in the address.

    Raises:
        ModelNotFound, VersionNotFound: it does not exist.
    """
    model, number = request.path_params["model"], request.path_params["version"]
    version = await client.get_version(f"{model}/{number}")
    references, comparisons, jobs, transitions, engines, reports = await asyncio.gather(
        asyncio.gather(*(client.get_reference(version, name=name) for name in version.references[:5])),
        first(client.list_comparisons(model), ROWS),
        first(client.list_jobs(model), ROWS),
        first(client.list_transitions(model, version=number), ROWS),
        first(client.list_engine_periods(model, version=number), ROWS),
        first(client.list_drift_reports(model, version=number), ROWS),
    )
    compared = [one for one in comparisons if version.ref in {result.version for result in one.results}]
    return View(
        version=version,
        references=references,
        job=next((job for job in jobs if job.successor == number), None),
        comparisons=compared,
        cost_curve=_cost_curve(compared, version),
        logits=logits(version.overfitting),
        transitions=transitions,
        engines=engines,
        reports=reports,
        next_stages=LEGAL_MOVES[version.stage],
        governance=await governance_of_version(client, version),
    )


def _cost_curve(comparisons: Sequence[Comparison], version: ModelVersion) -> Curve | None:
    """Return the Sharpe ratio of a version over the cost, by the newest comparison with returns."""
    curves = (curve for one in comparisons for curve in cost_curves(one) if curve.name == str(version.ref))
    return next(curves, None)

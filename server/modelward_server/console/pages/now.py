"""What is in production, and what needs attention first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.overview import AttentionKind, ModelOverview, Overview
from modelward_server.console.drawing import Sparkline, sparkline

TEMPLATE = "now"


@dataclass(frozen=True)
class Step:
    """What the button beside something that needs attention does."""

    page: str
    """Below the address of the model; from the root where it begins with a slash."""
    name: str
    changes: bool = False
    """Whether it begins a change, which needs a role."""


BACK = Step("rollback", "Roll back", changes=True)
ENGINES = Step("rollout", "See its engines")
JOBS = Step("/retraining", "See jobs and schedules")
STEPS = {
    AttentionKind.HALTED: Step("resume", "Resume", changes=True),
    AttentionKind.UNUSABLE: BACK,
    AttentionKind.ENGINES_FAILED: BACK,
    AttentionKind.DRIFT_ALARM: Step("drift", "See its drift"),
    AttentionKind.PERFORMANCE_ALARM: Step("performance", "See its performance"),
    AttentionKind.ENGINES_LAGGING: ENGINES,
    AttentionKind.ENGINES_GONE: ENGINES,
    AttentionKind.JOB_DEAD: JOBS,
    AttentionKind.JOB_STUCK: JOBS,
    AttentionKind.SCHEDULE_PROBLEM: JOBS,
    AttentionKind.MLFLOW_BEHIND: Step("/system", "See the system's health"),
}
"""The first step of those that the overview tells."""


@dataclass(frozen=True)
class Row:
    """One model in production."""

    model: ModelOverview
    drift: Sparkline | None


@dataclass(frozen=True)
class View:
    """What the page shows."""

    overview: Overview
    rows: Sequence[Row]
    prefix: str
    steps: Mapping[AttentionKind, Step]
    """What to do first."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page; its query may have a `prefix` of names, and the `page` after another one.

    Raises:
        InvalidField: `page` is not one of this list.
    """
    query = request.query_params
    prefix = query.get("prefix", "")
    overview = await client.get_overview(name_prefix=prefix, page_token=query.get("page", ""))
    rows = [
        Row(model, sparkline([(one.score, one.drift_detected, one.created_at) for one in model.drift]))
        for model in overview.models
    ]
    return View(overview, rows, prefix, STEPS)

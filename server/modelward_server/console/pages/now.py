"""What is in production, and what needs attention first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.overview import AttentionKind, ModelOverview, Overview
from modelward_server.console.drawing import Sparkline, sparkline

TEMPLATE = "now"
BACK = ("rollback", "Roll back")
ACTS = {
    AttentionKind.HALTED: ("resume", "Resume"),
    AttentionKind.UNUSABLE: BACK,
    AttentionKind.ENGINES_FAILED: BACK,
    AttentionKind.DRIFT_ALARM: BACK,
    AttentionKind.PERFORMANCE_ALARM: BACK,
}


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
    acts: Mapping[AttentionKind, tuple[str, str]]
    """The change that helps at once, where there is one: its address and its name."""


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
    return View(overview, rows, prefix, ACTS)

"""The comparisons with versions of a model, and their verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request

from modelward import AsyncClient
from modelward.comparison import Comparison, Verdict
from modelward.lifecycle import VersionRef
from modelward_server.console.pages.lists import ROWS, first

TEMPLATE = "comparisons"


@dataclass(frozen=True)
class Row:
    """One comparison, without its metrics, which its report shows."""

    comparison_id: str
    created_at: datetime
    created_by: str
    versions: Sequence[VersionRef]
    baseline: VersionRef
    best: VersionRef
    primary_metric: str
    rows: int
    verdict: Verdict
    summary: str


@dataclass(frozen=True)
class View:
    """What the page shows."""

    model: str
    comparisons: Sequence[Row]
    """The newest first."""
    more: bool
    """Whether there may be older ones, which the page does not show."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the newest comparisons of the model in the address.

    Raises:
        ModelNotFound: there is no such model.
    """
    model = await client.get_model(request.path_params["model"])
    found = await first(client.list_comparisons(model.name), ROWS)
    return View(model.name, [_row(one) for one in found], len(found) == ROWS)


def _row(comparison: Comparison) -> Row:
    return Row(
        comparison_id=comparison.comparison_id,
        created_at=comparison.created_at,
        created_by=comparison.created_by,
        versions=[result.version for result in comparison.results],
        baseline=comparison.baseline,
        best=comparison.best,
        primary_metric=comparison.primary_metric.value,
        rows=comparison.rows,
        verdict=comparison.conclusion.verdict,
        summary=comparison.summary,
    )

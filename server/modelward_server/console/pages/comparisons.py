"""The comparisons with versions of a model, and their verdicts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request

from modelward import AsyncClient
from modelward.comparison import Comparison, Verdict
from modelward.folds import FoldComparison, tabulate_folds
from modelward.lifecycle import ModelVersion, Stage, VersionRef
from modelward_server.console.pages.lists import ROWS, first

TEMPLATE = "comparisons"
FOLD_VERSIONS = 6
"""The most versions whose folds are shown side by side."""


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
    folds: FoldComparison | None
    """The folds of the newest versions that have some, side by side, the baseline first; None without any."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the newest comparisons of the model in the address.

    Raises:
        ModelNotFound: there is no such model.
    """
    model = await client.get_model(request.path_params["model"])
    found, versions = await asyncio.gather(
        first(client.list_comparisons(model.name), ROWS), first(client.list_versions(model.name), ROWS)
    )
    return View(model.name, [_row(one) for one in found], len(found) == ROWS, _folds(versions))


def _folds(versions: Sequence[ModelVersion]) -> FoldComparison | None:
    """Set folds side by side; the baseline is the version in production, or otherwise the oldest of those shown."""
    having = [version for version in versions if version.folds][:FOLD_VERSIONS][::-1]
    having.sort(key=lambda version: version.stage is not Stage.PRODUCTION)
    return tabulate_folds(having) if having else None


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
